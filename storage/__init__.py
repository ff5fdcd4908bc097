"""Where bytes live: URIs, artifacts and their manifests, documents, the ledger, tokens, the mixture."""
