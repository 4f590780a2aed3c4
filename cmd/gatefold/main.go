package main

import (
	_ "time/tzdata" // time zones for containers without a zone database

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/gatefold/gatefold/caddymodule"
)

func main() {
	tuneCollector()
	caddy.CustomBinaryName = "gatefold"
	caddy.CustomLongDescription = "Gatefold is an edge access-control proxy for publishers, built into Caddy."
	for _, command := range caddymodule.Commands() {
		caddycmd.RegisterCommand(command)
	}
	caddycmd.Main()
}
