package buildinfo

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestDescribe(t *testing.T) {
	t.Parallel()
	platform := runtime.GOOS + "/" + runtime.GOARCH
	caddy := &debug.Module{Path: caddyModule, Version: "v2.11.9"}
	commit := []debug.BuildSetting{
		{Key: "vcs.revision", Value: "0123456789abcdef0123456789abcdef01234567"},
		{Key: "vcs.time", Value: "2026-11-28T12:00:00Z"},
		{Key: "vcs.modified", Value: "false"},
	}
	for _, test := range []struct {
		name   string
		build  debug.BuildInfo
		linked string
		want   string
	}{
		{
			"a tag",
			debug.BuildInfo{Main: debug.Module{Path: gatefoldModule, Version: "v0.1.0"}, Deps: []*debug.Module{caddy}, Settings: commit},
			"",
			"Gatefold v0.1.0 (commit 0123456789ab, 2026-11-28), Caddy v2.11.9, go1.26 " + platform,
		},
		{
			"local changes",
			debug.BuildInfo{
				Main: debug.Module{Path: gatefoldModule, Version: "v0.1.0+dirty"}, Deps: []*debug.Module{caddy},
				Settings: append(commit[:2:2], debug.BuildSetting{Key: "vcs.modified", Value: "true"}),
			},
			"",
			"Gatefold v0.1.0+dirty (commit 0123456789ab, 2026-11-28, with local changes), Caddy v2.11.9, go1.26 " + platform,
		},
		{
			"no repository",
			debug.BuildInfo{Main: debug.Module{Path: gatefoldModule, Version: "(devel)"}, Deps: []*debug.Module{caddy}},
			"",
			"Gatefold devel, Caddy v2.11.9, go1.26 " + platform,
		},
		{
			"no repository, and a version from the linker",
			debug.BuildInfo{Main: debug.Module{Path: gatefoldModule, Version: "(devel)"}, Deps: []*debug.Module{caddy}},
			"v0.2.0",
			"Gatefold v0.2.0, Caddy v2.11.9, go1.26 " + platform,
		},
		{
			"a module of another program, whose commit is not Gatefold's",
			debug.BuildInfo{
				Main: debug.Module{Path: "caddy", Version: "(devel)"}, Deps: []*debug.Module{caddy, {Path: gatefoldModule, Version: "v0.1.0"}}, Settings: commit,
			},
			"",
			"Gatefold v0.1.0, Caddy v2.11.9, go1.26 " + platform,
		},
		{
			"a fork of Caddy",
			debug.BuildInfo{
				Main: debug.Module{Path: gatefoldModule, Version: "v0.1.0"},
				Deps: []*debug.Module{{Path: caddyModule, Version: "v2.11.9", Replace: &debug.Module{Path: "example.com/caddy", Version: "v2.12.0"}}},
			},
			"",
			"Gatefold v0.1.0, Caddy v2.12.0, go1.26 " + platform,
		},
		{"nothing recorded", debug.BuildInfo{}, "", "Gatefold devel, Caddy devel, go1.26 " + platform},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.build.GoVersion = "go1.26"
			if got := describe(&test.build, test.linked).String(); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}
