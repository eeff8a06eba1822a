"""How shipped artefacts were made that the product does not need to make again."""
