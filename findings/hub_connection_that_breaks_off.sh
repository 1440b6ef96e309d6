#!/usr/bin/env bash
# huggingface_hub 2.4.0 (httpx2 2.16.2): what a download raises when the server hangs up instead of answering.
#
# Expected: one of the errors that the library documents (HfHubHTTPError and its kin, LocalEntryNotFoundError), or at least
# an OSError, as those of requests were, which the library used before: a program that catches these tells its user that the network failed.
# Seen: a refused connection becomes LocalEntryNotFoundError. A connection that is taken and then closed without an answer,
# as flaky networks and proxies do, comes out as the HTTP library's own RemoteProtocolError, which is no OSError, no
# ValueError, no RuntimeError and none of the Hub's errors. It is caught by naming the HTTP library, which is an
# implementation's detail and has changed its name, or by catching everything.
#
# Output seen: the lines at the end of this file, of Python 3.11 on Linux.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check huggingface_hub==2.4.0 httpx2==2.16.2 2>/dev/null
cat >"$folder/fetch.py" <<'PY'
import logging
import socket
import tempfile
import threading

import huggingface_hub
from huggingface_hub import errors

logging.disable()


def hang_up(listener):
    while True:
        connection, _ = listener.accept()
        connection.recv(65536)  # the request
        connection.close()


def fetch(port):
    try:
        huggingface_hub.hf_hub_download(
            "user/name", "file.txt", endpoint=f"http://127.0.0.1:{port}", cache_dir=tempfile.mkdtemp(), token=False
        )
    except Exception as error:
        kinds = [errors.HfHubHTTPError, errors.LocalEntryNotFoundError, OSError, ValueError, RuntimeError]
        named = [kind.__name__ for kind in kinds if isinstance(error, kind)]
        print(f"{type(error).__module__.split('.')[0]}.{type(error).__name__}: {', '.join(named) or 'none of these'}")


listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=hang_up, args=(listener,), daemon=True).start()
print("HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError, RuntimeError?")
print("hung up:", end=" ")
fetch(listener.getsockname()[1])
free = socket.create_server(("127.0.0.1", 0))
port = free.getsockname()[1]
free.close()
print("refused:", end=" ")
fetch(port)
PY
env -u HF_HUB_OFFLINE -u http_proxy -u HTTP_PROXY -u all_proxy -u ALL_PROXY HF_HOME="$folder/hub" \
    "$folder/env/bin/python" "$folder/fetch.py" 2>/dev/null | tee "$folder/output"
diff "$folder/output" - <<'OUT'
HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError, RuntimeError?
hung up: httpx2.RemoteProtocolError: none of these
refused: huggingface_hub.LocalEntryNotFoundError: LocalEntryNotFoundError, OSError
OUT
