package main

import (
	"os"
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
	os.Args = ownValidate(os.Args)
	caddycmd.Main()
}

// ownValidate turns `gatefold validate` into `gatefold gatefold validate`, which is
// Caddy's command with a report of the sites: Caddy lets no module replace a command of
// its own.
func ownValidate(args []string) []string {
	if len(args) < 2 || args[1] != "validate" {
		return args
	}
	return append([]string{args[0], "gatefold"}, args[1:]...)
}
