package main

import (
	"os"
	_ "time/tzdata" // time zones for containers without a zone database

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/gatefold/gatefold/caddymodule"
)

func main() {
	tuneCollector()
	if err := newRoot().Execute(); err != nil {
		os.Exit(exitCode(err))
	}
}
