"""A service under load: `results/speed_service.json`.

    .venv/bin/python -m benchmarks.speed.service           # 3 minutes on 2 cores

`mamlax serve` of a table model (8 columns of numbers and one of categories, the default algorithm)
in a process of its own, and 16 clients in another on the same cores. Each adapts to 10 rows and
predicts 10 others, again and again: two requests a round. Counted are rounds a second, the time of
a round and of a request, and answers that are none; and the memory of the service after 1,000
rounds and at the end.
"""

import argparse
import http.client
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

import mamlax
from benchmarks import report
from benchmarks.speed.estimators import rows

NUM_CLIENTS, SUPPORT, QUERY = 16, 10, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20_000)
    parser.add_argument("--note", default="")
    parser.add_argument("--output", type=Path, default=report.RESULTS / "speed_service.json")
    args = parser.parse_args()
    machine = report.machine()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.safetensors"
        X, y, groups = rows(1_300, 65, classes=False)
        settings: dict[str, Any] = {"compare": False, "refit": False, "num_outer_steps": 200}
        mamlax.FewShotRegressor(random_state=0, **settings).fit(X, y, groups=groups).save(model)
        results = under_load(model, X, y, args.rounds)
    print(results, flush=True)
    versions = report.versions("jax", "mamlax", "starlette", "uvicorn")
    document = {"note": args.note, "machine": machine, "versions": versions, "results": results}
    report.write_report(args.output, document)


def under_load(model: Path, X: Any, y: Any, num_rounds: int) -> dict[str, Any]:
    """Start the service, ask it, and end it."""
    table = json.loads(X.to_json(orient="records"))
    adapting = json.dumps({"rows": table[:SUPPORT], "targets": y[:SUPPORT].tolist()})
    asked = table[SUPPORT : SUPPORT + QUERY]
    command = [sys.executable, "-m", "mamlax", "serve", model, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        port = next(
            int(found[1])
            for line in process.stderr
            if (found := re.search(r"http://localhost:(\d+)", line))
        )
        seconds: list[float] = []
        of_requests: list[float] = []
        faults: list[str] = []
        memory: list[float] = []
        began = time.perf_counter()

        def ask(number: int) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            for done in range(num_rounds // NUM_CLIENTS):
                start = time.perf_counter()
                try:
                    key = answer(connection, "adapt", adapting)["id"]
                    between = time.perf_counter()
                    answer(connection, "predict", json.dumps({"id": key, "rows": asked}))
                    of_requests.extend((between - start, time.perf_counter() - between))
                except Exception as error:
                    faults.append(repr(error))
                    connection.close()
                seconds.append(time.perf_counter() - start)
                if number == 0 and done in (1_000 // NUM_CLIENTS, num_rounds // NUM_CLIENTS - 1):
                    memory.append(held_mib(process.pid))

        clients = [threading.Thread(target=ask, args=(i,)) for i in range(NUM_CLIENTS)]
        for one in clients:
            one.start()
        for one in clients:
            one.join()
        elapsed = time.perf_counter() - began
        process.terminate()
    return {
        "rounds": len(seconds),
        "rounds_per_second": round(len(seconds) / elapsed, 1),
        "milliseconds_of_a_round": milliseconds(seconds),
        "milliseconds_of_a_request": milliseconds(of_requests),
        "faults": len(faults),
        "some_faults": faults[:3],
        "memory_mib_after_1000_rounds_and_at_the_end": memory,
    }


def milliseconds(seconds: list[float]) -> dict[str, float]:
    """Percentiles."""
    return {
        str(share): round(1e3 * float(np.percentile(seconds, share)), 1)
        for share in (50, 90, 99, 100)
    }


def answer(connection: http.client.HTTPConnection, what: str, body: str) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    connection.request("POST", f"/models/model/{what}", body, headers)
    response = connection.getresponse()
    content = json.loads(response.read())
    if response.status != 200:
        raise RuntimeError(content)
    return content


def held_mib(process: int) -> float:
    """What a process holds in memory (Linux)."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return round(pages * 4 / 1024, 1)


if __name__ == "__main__":
    main()
