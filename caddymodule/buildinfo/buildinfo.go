// Package buildinfo describes the running binary: the version of Gatefold, the commit
// that it was built from, and the versions of Caddy and Go. All of it comes from what
// the Go command writes into a binary.
package buildinfo

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
)

const (
	gatefoldModule = "github.com/gatefold/gatefold"
	caddyModule    = "github.com/caddyserver/caddy/v2"
)

// unknown is the version of a build that has none: one without a repository.
const unknown = "devel"

// version is set by the linker where the Go command finds no repository with tags, as
// `make release VERSION=v1.2.3` does.
var version string

// Info describes a build.
type Info struct {
	// Version is Gatefold's: a tag, the pseudo-version of a commit, or "devel".
	Version string `json:"version"`
	// Revision is the full id of the commit. It is empty if the binary was not built in
	// Gatefold's own repository.
	Revision string `json:"revision,omitempty"`
	// Time is the commit's time in RFC 3339.
	Time string `json:"time,omitempty"`
	// Modified says that the working tree differed from the commit.
	Modified bool `json:"modified,omitempty"`
	// Caddy is the version of Caddy.
	Caddy string `json:"caddy"`
	// Go is the version of the Go toolchain.
	Go string `json:"go"`
	// Platform is the operating system and the architecture, such as linux/amd64.
	Platform string `json:"platform"`
}

// Read returns the description of the running binary. It may be called concurrently.
var Read = sync.OnceValue(func() Info {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		build = &debug.BuildInfo{GoVersion: runtime.Version()}
	}
	return describe(build, version)
})

// describe takes the description from what the Go command recorded. A linked version
// goes before that of the module. The recorded commit is the main module's, which in a
// Caddy built with the module is another repository's.
func describe(build *debug.BuildInfo, linked string) Info {
	info := Info{Version: unknown, Caddy: unknown, Go: build.GoVersion, Platform: runtime.GOOS + "/" + runtime.GOARCH}
	for _, module := range append([]*debug.Module{&build.Main}, build.Deps...) {
		switch module.Path {
		case gatefoldModule:
			info.Version = versionOf(module)
		case caddyModule:
			info.Caddy = versionOf(module)
		}
	}
	if linked != "" {
		info.Version = linked
	}
	if build.Main.Path != gatefoldModule {
		return info
	}
	for _, setting := range build.Settings {
		switch setting.Key {
		case "vcs.revision":
			info.Revision = setting.Value
		case "vcs.time":
			info.Time = setting.Value
		case "vcs.modified":
			info.Modified = setting.Value == "true"
		}
	}
	return info
}

func versionOf(module *debug.Module) string {
	if module.Replace != nil && module.Replace.Version != "" {
		module = module.Replace
	}
	if module.Version == "" || module.Version == "(devel)" {
		return unknown
	}
	return module.Version
}

// String returns the description in one line.
func (i Info) String() string {
	var commit []string
	if i.Revision != "" {
		commit = append(commit, "commit "+i.Revision[:min(12, len(i.Revision))])
	}
	if day, _, found := strings.Cut(i.Time, "T"); found {
		commit = append(commit, day)
	}
	if i.Modified {
		commit = append(commit, "with local changes")
	}
	detail := ""
	if len(commit) > 0 {
		detail = " (" + strings.Join(commit, ", ") + ")"
	}
	return fmt.Sprintf("Gatefold %s%s, Caddy %s, %s %s", i.Version, detail, i.Caddy, i.Go, i.Platform)
}
