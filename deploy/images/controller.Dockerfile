# The controller's image, on glibc. docker build -f deploy/images/controller.Dockerfile -t fleetbus-controller .
FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements.lock ./
COPY schemas schemas
COPY runtime runtime
COPY controller controller
RUN sed -e '/--hash=/d' -e 's/ \\$//' requirements.lock > constraints.txt \
 && python -m venv /opt/fleetbus \
 && /opt/fleetbus/bin/pip install --no-cache-dir -c constraints.txt ./schemas "./runtime[vault]" ./controller

FROM python:3.13-slim
RUN apt-get update && apt-get install --yes --no-install-recommends git util-linux && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/fleetbus /opt/fleetbus
USER 65532:65532
ENV PYTHONDONTWRITEBYTECODE=1
ENTRYPOINT ["/opt/fleetbus/bin/fleetbus-controller"]
