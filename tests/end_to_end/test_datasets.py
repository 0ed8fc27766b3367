"""Datasets on a real node: added, brought once, read by jobs; and a file that is not what it was is no input."""

from __future__ import annotations

from tests.support.file_server import FileServer
from tests.support.hal_services import HalServices

READ = ('cat "$HAL_DATASET_GENOME/a" "$HAL_DATASET_GENOME/deep/b"', "first second ")


def run_job(hal: HalServices, script: str, dataset: str, *more: tuple[str, str]) -> dict:
    return run_with(hal, script, f"dataset:{dataset}", *more)


def run_with(hal: HalServices, script: str, inputs: str, *more: tuple[str, str]) -> dict:
    options = [("inputs", inputs), ("output", "out"), *more]
    job_id = hal.submit("/bin/sh", "-c", script, options=options)
    return hal.get(f"/v1/jobs/{job_id}?wait=ended&timeout_s=60")


def test_jobs_read_datasets_that_were_brought_once() -> None:
    with HalServices(cpus=4) as hal:
        data = hal.directory / "data"
        (data / "deep").mkdir(parents=True)
        (data / "a").write_text("first ")
        (data / "deep" / "b").write_text("second ")
        hal.directory.chmod(0o755)
        assert "genome@1" in hal.run("data", "add", "genome", str(data)).stdout

        first = run_job(hal, READ[0], "genome")
        assert first["state"] == "COMPLETED", first
        assert (hal.directory / "work" / "out").read_text() == READ[1]
        second = run_job(hal, READ[0], "genome@1")
        receipts = [hal.get(f"/v1/jobs/{job['job_id']}/receipt") for job in (first, second)]
        assert [(each["bytes_moved"], each["bytes_saved"]) for each in receipts] == [(13, 0), (0, 13)]
        assert hal.run("data", "where", "genome").stdout.splitlines() == [str(data), "copies on n1"]

        hal.kill("n1")
        hal.start_service("n1")
        (data / "a").write_text("changed")  # the node's copy is what the catalogue says
        assert run_job(hal, READ[0], "genome")["state"] == "COMPLETED"
        assert (hal.directory / "work" / "out").read_text() == READ[1]

        left = run_job(hal, "mkdir d && cp $HAL_DATASET_GENOME/a d/", "genome", ("outputs", "result=d,log@7=out"))
        assert left["state"] == "COMPLETED", left
        assert hal.run("data", "show", "log@7").returncode == 0
        assert run_job(hal, 'cat "$HAL_DATASET_RESULT/a"', f"result@job{left['job_id']}")["state"] == "COMPLETED"
        assert (hal.directory / "work" / "out").read_text() == "first "
        missing = run_job(hal, "true", "genome", ("outputs", "nothing=not/there"))
        assert missing["state"] == "FAILED", missing
        assert "output nothing" in hal.run("explain", str(missing["job_id"])).stderr

        (data / "a").write_text("wrong!")
        wrong = hal.run("data", "add", "other", str(data))
        assert wrong.returncode == 0
        (data / "a").write_text("WRONG!")
        failed = run_job(hal, "true", "other")
        assert failed["state"] == "FAILED", failed
        assert f"{data}/a: it is corrupted" in hal.run("explain", str(failed["job_id"])).stderr


def localities(server: FileServer) -> str:
    return f"""\
localities:
  files:
    cached_prefixes: [/tmp]
  http:
    url_prefixes: ["{server.url}"]
"""


def test_jobs_read_files_that_they_call_by_path_or_url() -> None:
    with FileServer() as server, HalServices(cpus=4, more_configuration=localities(server)) as hal:
        slow = hal.directory / "slow"
        slow.mkdir(mode=0o755)
        hal.directory.chmod(0o755)
        (slow / "reads").write_text("path ")
        (slow / "reads").chmod(0o644)
        url = server.put("/genome.fa", b"url ", headers={"ETag": '"1"'})
        inputs = f"{slow}/reads,{url},/etc/hostname"
        script = 'cat "$HAL_INPUT_1" "$HAL_INPUT_2"; echo "$HAL_INPUT_2 $HAL_INPUT_3"'
        receipts = []
        for _ in range(2):
            job = run_with(hal, script, inputs)
            assert job["state"] == "COMPLETED", hal.run("explain", str(job["job_id"])).stderr
            assert job["inputs"] == inputs.split(",")
            text, _, places = (hal.directory / "work" / "out").read_text().rpartition("url ")
            assert text == "path "
            assert places.split()[0].endswith("/genome.fa")
            assert places.split()[1] == "/etc/hostname"
            receipts.append(hal.get(f"/v1/jobs/{job['job_id']}/receipt"))
        assert [(each["bytes_moved"], each["bytes_saved"]) for each in receipts] == [(9, 0), (0, 9)]
        assert hal.run("data", "ls").stdout.count("\n") <= 1

        server.put("/genome.fa", b"new ", headers={"ETag": '"2"'})
        assert run_with(hal, 'cat "$HAL_INPUT_1"', url)["state"] == "COMPLETED"
        assert (hal.directory / "work" / "out").read_text() == "new "
        refused = hal.run("submit", "--inputs", "http://169.254.169.254/latest", "--", "true")
        assert refused.returncode != 0
        assert "no locality provider recognises the input 'http://169.254.169.254/latest'" in refused.stderr
