import subprocess
import sys

# A handler of Prefect's kind: to flush it takes another thread, and that thread logs.
_CODE = """
import logging
import threading
import time

class Handler(logging.Handler):
    def flush(self):
        def send():
            logging.getLogger(f"new-{time.monotonic()}")
        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        thread.join(20)
        assert not thread.is_alive(), "it waits for the import, which waits for it"

handler = Handler()
logging.getLogger().addHandler(handler)
import tokencompose_core.nouns.tagger
assert handler in logging.getLogger().handlers
assert handler in [reference() for reference in logging._handlerList]
print("imported")
"""


def test_threads_may_log_while_flair_is_imported_and_handlers_stay():
    ran = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.splitlines()[-1] == "imported"
