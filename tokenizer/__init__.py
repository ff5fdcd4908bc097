"""The tokenizer: vocabulary expansion, encoding by a declared document policy, embedding initialisation."""
