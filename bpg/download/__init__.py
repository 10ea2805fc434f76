"""Archives, wheels and weights from elsewhere: resumed, checked, unpacked with care."""
