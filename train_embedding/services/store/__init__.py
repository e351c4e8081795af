"""Safe changes to the embeddings folder: transactions, locks and the trash."""
