package command

import (
	"fmt"
	"io"
	"net/http"

	"github.com/dustin/go-humanize"
)

// CompactPath is the path of a compaction of the database, below AdminPrefix.
const CompactPath = "/store/compact"

// Compacted is the answer of a compaction: the length of the file, and what is free in
// it, before and after, in bytes.
type Compacted struct {
	BytesBefore     int64 `json:"bytesBefore"`
	FreeBytesBefore int64 `json:"freeBytesBefore"`
	Bytes           int64 `json:"bytes"`
	FreeBytes       int64 `json:"freeBytes"`
}

// compactStore replaces the file of the running server's database by one without free pages.
func compactStore(c *call) error {
	response, err := c.open(c.cmd.Context(), http.MethodPost, CompactPath, nil, struct{}{}, "application/json")
	if err != nil {
		return err
	}
	if response.StatusCode >= http.StatusBadRequest {
		return failure(response)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("reading the server's answer: %w", err)
	}
	var done Compacted
	if err := decode(answer, &done); err != nil {
		return err
	}
	size := func(bytes int64) string { return humanize.IBytes(uint64(bytes)) } //nolint:gosec // of a file
	return c.print(done, line("compacted the database from %s (%s free) to %s (%s free)", size(done.BytesBefore), size(done.FreeBytesBefore), size(done.Bytes), size(done.FreeBytes)))
}
