// Package packagetest builds the packages of a release, and uses them as an operator
// does, in a Debian with nothing else in it. It has tests only.
//
//	release_test.go  `make release`, for this tree and for the version before it
//	debian_test.go   the .deb: installed, started, upgraded, downgraded, purged
//	service_test.go  a process as the unit starts it
//	readme_test.go   the README's transcript against that process
//	files_test.go    archives, checksums, SBOM, .rpm, and the unit's exposure
package packagetest
