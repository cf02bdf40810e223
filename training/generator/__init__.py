"""Fine-tuning a small decoder for grounded answers, refusal and rewriting; export; evaluation."""
