"""Datasets on a real node: added, brought once, read by jobs; and a file that is not what it was is no input."""

from __future__ import annotations

from tests.support.hal_services import HalServices

READ = ('cat "$HAL_DATASET_GENOME/a" "$HAL_DATASET_GENOME/deep/b"', "first second ")


def run_job(hal: HalServices, script: str, dataset: str, *more: tuple[str, str]) -> dict:
    options = [("inputs", f"dataset:{dataset}"), ("output", "out"), *more]
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
