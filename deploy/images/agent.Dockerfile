# The agent's image. Built from the repository's root: docker build -f deploy/images/agent.Dockerfile -t fleetbus-agent .
# `pip` reads only what the agent needs from the lock file's constraints, so that the image holds no command and no test.
FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements.lock ./
COPY schemas schemas
COPY runtime runtime
COPY agent agent
RUN sed -e '/--hash=/d' -e 's/ \\$//' requirements.lock > constraints.txt \
 && python -m venv /opt/fleetbus \
 && /opt/fleetbus/bin/pip install --no-cache-dir -c constraints.txt ./schemas "./runtime[kube,vault]" ./agent

FROM python:3.13-slim
COPY --from=build /opt/fleetbus /opt/fleetbus
USER 65532:65532
ENV PYTHONDONTWRITEBYTECODE=1 MALLOC_ARENA_MAX=1
ENTRYPOINT ["/opt/fleetbus/bin/fleetbus-agent"]
