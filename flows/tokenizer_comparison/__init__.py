"""`hibari tokenizer compare`: tokenizers beside one another, in tokens and in what a model computes for them."""
