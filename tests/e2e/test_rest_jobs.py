"""The older execution engine's calls, in the order in which its users make them."""

from __future__ import annotations

import uuid
from typing import Any

import httpx

from fnmesh.client import Mesh
from tests.support.eventually import eventually_sync


def _uploaded(http: httpx.Client, code: str, project: str = "my-project", language: str = "python") -> dict[str, Any]:
    answer = http.post("/api/upload", json={"project": project, "code": code, "language": language})
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


def _ended(http: httpx.Client, job_id: str) -> dict[str, Any]:
    def probe() -> dict[str, Any]:
        job: dict[str, Any] = http.get(f"/api/jobs/{job_id}").json()
        return job if job["status"] not in ("PENDING", "RUNNING") else {}

    return eventually_sync(probe, 60)


def test_a_job_from_its_upload_to_its_log(http: httpx.Client, client: Mesh) -> None:
    made = _uploaded(http, 'import json, sys\nprint("hello", json.load(sys.stdin)["n"])\n')

    job_id = made["job_id"]
    assert made == {
        "job_id": job_id, "project": "my-project", "code_key": f"my-project/{uuid.UUID(job_id).hex[:8]}.py",
        "status": "PENDING", "message": "Code uploaded successfully",
    }  # fmt: skip
    begun = http.post(f"/api/execute/{job_id}", json={"event": {"n": 7}})
    assert (begun.status_code, begun.json()) == (
        202, {"job_id": job_id, "status": "RUNNING", "message": "Execution started"},
    )  # fmt: skip
    assert http.post(f"/api/execute/{job_id}").status_code == 409

    job = _ended(http, job_id)

    assert (job["status"], job["exit_code"], job["language"], job["error"]) == ("SUCCESS", 0, "python", None)
    assert job["started_at"] <= job["completed_at"]
    log = http.get("/api/log", params={"log_key": job["log_key"]})
    assert log.headers["content-type"] == "text/plain; charset=utf-8"
    assert log.text == "hello 7\n"
    assert job in http.get("/api/projects/my-project/jobs").json()["jobs"]
    assert job in http.get("/api/jobs", params={"status": "SUCCESS"}).json()["jobs"]
    assert job not in http.get("/api/jobs", params={"status": "FAILED"}).json()["jobs"]
    (project,) = [one for one in http.get("/api/projects").json()["projects"] if one["project"] == "my-project"]
    assert project["job_count"] >= 1


def test_pages_projects_and_what_is_not_there(http: httpx.Client) -> None:
    assert http.post("/api/project", json={"project": "p2"}).status_code == 201
    assert http.post("/api/project", json={"project": "p2"}).status_code == 409
    ids = [_uploaded(http, "print(1)", "p2", "node" if n == 1 else "python")["job_id"] for n in range(3)]

    first = http.get("/api/projects/p2/jobs", params={"page_size": 2}).json()
    rest = http.get("/api/projects/p2/jobs", params={"page_token": first["next_page_token"]}).json()

    assert [one["job_id"] for one in first["jobs"] + rest["jobs"]] == ids[::-1]
    assert rest["next_page_token"] == ""
    assert http.get(f"/api/jobs/{uuid.uuid4()}").status_code == 404
    assert http.get("/api/jobs/no-uuid").status_code == 422
    assert http.get("/api/log", params={"log_key": "jobs/ws-nothing/x.log"}).status_code == 404
    assert http.get("/api/projects/nowhere/jobs").status_code == 404
    assert http.get("/api/health").json() == {"status": "ok"}


def test_a_job_that_fails_and_one_that_is_cancelled(http: httpx.Client) -> None:
    failing = _uploaded(http, "raise SystemExit(3)")["job_id"]
    endless = _uploaded(http, "import time\nwhile True: time.sleep(1)")["job_id"]
    for job_id in (failing, endless):
        assert http.post(f"/api/execute/{job_id}").status_code == 202

    failed = _ended(http, failing)
    cancelled = http.post(f"/api/jobs/{endless}/cancel")

    assert (failed["status"], failed["exit_code"]) == ("FAILED", 3)
    assert cancelled.status_code == 200
    assert _ended(http, endless)["status"] == "CANCELLED"


def test_an_asynchronous_invoke_is_found_at_its_location(http: httpx.Client) -> None:
    given = {"path": "deferred", "type": "python", "code": "def handler(event): return 'done'"}
    number = http.post("/callbacks/", json=given).json()["callback_id"]
    http.post("/deploy/", json={"callback_id": number, "status": True, "c_type": "process"})
    eventually_sync(lambda: http.post("/api/deferred").status_code == 200, 60)

    accepted = http.post("/api/deferred", headers={"prefer": "respond-async"})

    assert accepted.status_code == 202
    job = _ended(http, accepted.headers["location"].rpartition("/")[2])
    assert job["status"] == "SUCCESS"


def test_a_deleted_project_takes_its_jobs_with_it(http: httpx.Client) -> None:
    endless = _uploaded(http, "import time\nprint('on', flush=True)\nwhile True: time.sleep(1)", "short-lived")[
        "job_id"
    ]
    waiting = _uploaded(http, "print(1)", "short-lived")["job_id"]
    http.post(f"/api/execute/{endless}")
    eventually_sync(lambda: http.get(f"/api/jobs/{endless}").json()["started_at"], 60)
    (uid,) = [one["id"] for one in http.get("/api/workspaces").json() if one["name"] == "short-lived"]

    assert http.delete(f"/api/workspaces/{uid}").status_code == 204

    ended = [_ended(http, job_id) for job_id in (endless, waiting)]
    assert {one["status"] for one in ended} == {"CANCELLED"}
    eventually_sync(lambda: http.get("/api/projects/short-lived/jobs").status_code == 404, 30)
