package command

import (
	"fmt"
	"io"
	"net/http"

	"github.com/dustin/go-humanize"
)

// CompactPath is the path of a compaction of the database, below AdminPrefix.
const CompactPath = "/store/compact"

// Compacted is the answer of a compaction: the length of the file before and after it, in
// bytes.
type Compacted struct {
	BytesBefore int64 `json:"bytesBefore"`
	Bytes       int64 `json:"bytes"`
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
	return c.print(done, line("compacted the database from %s to %s", humanize.IBytes(uint64(done.BytesBefore)), humanize.IBytes(uint64(done.Bytes))))
}
