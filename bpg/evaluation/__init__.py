"""How good predicted masks are: confusion matrices and the scores made from them."""
