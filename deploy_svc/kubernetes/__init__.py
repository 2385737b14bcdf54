"""Functions on Kubernetes clusters. The client, which is large, is imported only where a cluster is configured."""
