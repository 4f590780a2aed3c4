// Package packagetest builds the packages of a release, and uses them as an operator
// does: in a Debian with nothing else in it, and in an image with nothing in it at all. It
// has tests only.
//
//	release_test.go  `make release`, for this tree and for the version before it
//	debian_test.go   the .deb: installed, started, upgraded, downgraded, purged
//	service_test.go  a process as the unit or the image starts it
//	readme_test.go   the README's transcript against that process
//	files_test.go    archives, checksums, SBOM, .rpm, and the unit's exposure
//	image_test.go    the Dockerfile's last stage, and the files of compose.yaml
package packagetest
