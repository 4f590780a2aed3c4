# The image of Gatefold: the static binary, the roots of TLS, and folders for its user.
# A build takes as long as the first `make build`. .git is part of it, for the version.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -tags nobadger,nomysql,nopgx -trimpath -buildvcs=auto -ldflags "-s -w" -o /out/gatefold ./cmd/gatefold && mkdir /out/data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/gatefold /usr/bin/gatefold
COPY --from=build --chown=65532:65532 /out/data /var/lib/gatefold
COPY Caddyfile.example /etc/gatefold/Caddyfile
USER 65532:65532
ENV HOME=/var/lib/gatefold XDG_DATA_HOME=/var/lib/gatefold XDG_CONFIG_HOME=/var/lib/gatefold
WORKDIR /var/lib/gatefold
VOLUME /var/lib/gatefold
EXPOSE 80 443 443/udp
HEALTHCHECK --start-period=30s --interval=10s --timeout=5s CMD ["/usr/bin/gatefold", "status"]
ENTRYPOINT ["/usr/bin/gatefold"]
CMD ["run", "--config", "/etc/gatefold/Caddyfile"]
