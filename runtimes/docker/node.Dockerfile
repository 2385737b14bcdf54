FROM @BASE_IMAGE@
# The authors' build scripts run here: unprivileged, and not as the user that runs the function.
USER @BUILD_UID@:@BUILD_UID@
WORKDIR /app
# {requirements
# For registries behind a proxy or a private CA; build arguments only, so none of them is in the image's environment.
ARG npm_config_registry
ARG NODE_EXTRA_CA_CERTS
ARG SSL_CERT_FILE
COPY --chown=@BUILD_UID@:@BUILD_UID@ app/package.json app/package-lock.json* app/.npmrc* /app/
RUN export HOME=/tmp/npm && mkdir -p "$HOME" \
 && if [ -f package-lock.json ]; then npm ci --omit=dev --no-audit --no-fund --no-update-notifier; \
    else npm install --omit=dev --no-audit --no-fund --no-update-notifier --no-package-lock; fi \
 && rm -rf "$HOME"
# requirements}
COPY --chown=@BUILD_UID@:@BUILD_UID@ app/ /app/
USER @RUN_UID@:@RUN_UID@
EXPOSE @PORT@
ENTRYPOINT ["node", "/opt/fnmesh/server/serve.cjs", "--listen", "tcp:0.0.0.0:@PORT@", "--app", "/app"]
