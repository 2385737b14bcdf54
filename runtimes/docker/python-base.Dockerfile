FROM @BASE_IMAGE@
# For registries behind a proxy or a private CA; build arguments only, so none of them is in the image's environment.
ARG PIP_INDEX_URL
ARG PIP_CERT
ARG SSL_CERT_FILE
USER 0:0
COPY server/ /opt/fnmesh/server/
RUN python -m pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore --no-deps \
      --target /opt/fnmesh/lib httptools==@HTTPTOOLS_VERSION@ \
 && python -m compileall -q --invalidation-mode unchecked-hash /opt/fnmesh \
 && mkdir -p /app /opt/fnmesh/packages \
 && chmod -R a+rX /opt/fnmesh \
 && chown @BUILD_UID@:@BUILD_UID@ /app /opt/fnmesh/packages
