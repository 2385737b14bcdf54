FROM @BASE_IMAGE@
USER 0:0
COPY server/ /opt/fnmesh/server/
RUN mkdir -p /app && chmod -R a+rX /opt/fnmesh && chown @BUILD_UID@:@BUILD_UID@ /app
