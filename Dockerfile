# Caddy with Ballast and its store on Redis, without a shell and without root. The context is the top
# of the repository:
#
#   docker build --build-arg VERSION=v0.1.0 -t ballast .
#
# `tools/release` builds the same program with the same flags; a test runs the commands of this file.

FROM --platform=$BUILDPLATFORM golang:1.26.5-alpine3.24 AS build
WORKDIR /src
COPY go.mod go.sum ./
COPY redisstore/go.mod redisstore/go.sum redisstore/
RUN go mod download -C redisstore
COPY . .
ARG TARGETOS
ARG TARGETARCH
ARG TARGETVARIANT
ARG VERSION=devel
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH GOARM=${TARGETVARIANT#v} go build -C redisstore -trimpath -buildvcs=false -ldflags "-s -w -X github.com/caddyserver/caddy/v2.CustomVersion=ballast-$VERSION" -o /rootfs/usr/bin/caddy ./cmd/caddy
RUN mkdir -p /rootfs/data/caddy /rootfs/config/caddy /rootfs/etc && echo "caddy:x:65532:65532::/data:/sbin/nologin" > /rootfs/etc/passwd

# Certificates of authorities, time zones and a user; nothing else.
FROM scratch
ARG VERSION=devel
LABEL org.opencontainers.image.title="Caddy with Ballast" \
	org.opencontainers.image.version="$VERSION" \
	org.opencontainers.image.licenses="Apache-2.0" \
	org.opencontainers.image.source="https://github.com/ballast-lb/caddy-ballast"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /usr/local/go/lib/time/zoneinfo.zip /usr/share/zoneinfo.zip
COPY --from=build /rootfs/etc/passwd /etc/passwd
COPY --from=build /rootfs/usr/bin/caddy /usr/bin/caddy
COPY --from=build /src/examples/quickstart/Caddyfile /etc/caddy/Caddyfile
COPY --from=build --chown=65532:65532 /rootfs/data /data
COPY --from=build --chown=65532:65532 /rootfs/config /config
ENV XDG_CONFIG_HOME=/config XDG_DATA_HOME=/data ZONEINFO=/usr/share/zoneinfo.zip
VOLUME /config /data
# In Docker, a user without privileges may listen on every port of the container.
EXPOSE 80 443 443/udp
USER 65532:65532
ENTRYPOINT ["/usr/bin/caddy"]
CMD ["run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]
