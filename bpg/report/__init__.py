"""What a reader sees: tables beside the paper's, figures, one page."""
