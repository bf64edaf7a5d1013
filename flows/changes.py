"""What changed between two data sets: settings, samples, counts, packages."""

from prefect import flow

from tasks.publish_changes import SetChanges, publish_changes


@flow(name="changes", flow_run_name="changes {after}")
def changes(after: str = "", before: str = "") -> SetChanges | None:
    """Compare a data set with an earlier one; `curate` does so at its end with the one before.

    Args:
        after: A caption set, or the key of a data set; the newest data set if it is empty.
        before: The same of the earlier one; if it is empty, what was made of the same caption set
            before.

    Returns:
        What differs, and the artifact that shows it.
    """
    return publish_changes(after, before)
