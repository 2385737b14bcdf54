FROM @BASE_IMAGE@
# The authors' build scripts run here: unprivileged, and not as the user that runs the function.
USER @BUILD_UID@:@BUILD_UID@
WORKDIR /app
# {requirements
ARG PIP_INDEX_URL
ARG PIP_CERT
ARG SSL_CERT_FILE
COPY --chown=@BUILD_UID@:@BUILD_UID@ app/requirements.txt /app/requirements.txt
RUN HOME=/tmp python -m pip install --no-cache-dir --disable-pip-version-check --no-input --compile \
      --target /opt/fnmesh/packages -r /app/requirements.txt
# requirements}
COPY --chown=@BUILD_UID@:@BUILD_UID@ app/ /app/
# Compiled here because the file system is read-only later. A file that does not compile says so when it is imported.
RUN chmod -R a+rX /app \
 && { python -I -m compileall -q --invalidation-mode unchecked-hash /app > /dev/null 2>&1 || true; }
USER @RUN_UID@:@RUN_UID@
EXPOSE @PORT@
ENTRYPOINT ["python", "-I", "/opt/fnmesh/server/serve.py", "--listen", "tcp:0.0.0.0:@PORT@", "--app", "/app", "--lib", "/opt/fnmesh/lib", "--packages", "/opt/fnmesh/packages"]
