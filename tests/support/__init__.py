"""What the tests stand on: own servers, base images, polling, and the policy for what is missing."""
