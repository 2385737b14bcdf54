"""A stateful stand-in for a Kubernetes cluster, over real HTTP, for tests that use the real client.

    with FakeKubernetes(spinkube=True, namespaces=("apps",)) as cluster:
        cluster.kubeconfig(tmp_path / "kubeconfig")         # a context for the client; others may have narrow tokens
        cluster.kubelet.behave(Starting(), image="x:2")     # what becomes of pods; Ready() if nothing is said
        cluster.faults.add(Fault(503, times=2, verb="patch", resource="deployments"))
        ...
        cluster.settle()                                    # or wait: the controllers work by themselves
        cluster.advance(601)                                # deadlines that are over then are seen
        assert cluster.requests.writes("deployments") == 1
        assert cluster.get("deployments", "hello", "apps")["status"]["readyReplicas"] == 1

What it does not have: ReplicaSets adopting pods, horizontal scaling (`FakeKubernetes.scale` stands for it), budgets
being kept, Events, quotas, OpenAPI documents, bodies in protocol buffers. `spinkube` and `metrics` are absent unless
they are asked for. A pod's address is of 127.0.0.0/8, so a test may listen there.
"""

from tests.support.kubernetes.access import Rule
from tests.support.kubernetes.behaviours import (
    Behaviour,
    Crashing,
    Evicted,
    NotReady,
    Ready,
    Runs,
    Starting,
    Unschedulable,
    Waiting,
    crash_loop_back_off,
    image_pull_back_off,
    oom_killed,
)  # fmt: skip
from tests.support.kubernetes.faults import Fault
from tests.support.kubernetes.kubelet import Runtime
from tests.support.kubernetes.metrics import Usage
from tests.support.kubernetes.server import FakeKubernetes
from tests.support.kubernetes.spin_crd import SPIN_APP_CRD

__all__ = [
    "SPIN_APP_CRD", "Behaviour", "Crashing", "Evicted", "FakeKubernetes", "Fault", "NotReady", "Ready", "Rule", "Runs",
    "Runtime", "Starting", "Unschedulable", "Usage", "Waiting", "crash_loop_back_off", "image_pull_back_off",
    "oom_killed",
]  # fmt: skip
