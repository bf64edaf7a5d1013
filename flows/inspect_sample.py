"""What became of one image: which caption, which masks, or why it was left out."""

from prefect import flow

from tasks.inspect_sample import Inspection, inspect_samples


@flow(name="inspect", flow_run_name="inspect {sample}")
def inspect_sample(sample: str, dataset: str = "") -> Inspection:
    """Show what every stage made of the samples that a text names; no model is loaded.

    Args:
        sample: Part of a sample's key, of the path of its image, or of a caption.
        dataset: A caption set, or the key of a data set; the newest data set if it is empty.

    Returns:
        The samples, and the artifact that shows them.
    """
    return inspect_samples(dataset, sample)
