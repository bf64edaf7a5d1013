"""The contract between the layers: configs, records, Arrow schemas and manifests."""
