"""The science of TokenCompose; knows no Prefect and no run."""
