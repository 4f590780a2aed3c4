package command

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/admin"
)

const (
	maxImportBatch      = 5000 // rows
	maxImportBatchBytes = 8 << 20
	progressEvery       = 5 * time.Second
)

func importCommand(parent *cobra.Command) {
	cmd := subcommand(parent, "import <file>", "Creates grants from a CSV or NDJSON file; if interrupted, run it again to resume", cobra.ExactArgs(1), importGrants)
	flags := cmd.Flags()
	flags.String("format", "", "csv or ndjson (default: by the extension of the file)")
	flags.String("import-id", "", "name of the import (default: derived from the content of the file; required for standard input, -)")
	flags.Int("batch", maxImportBatch, "number of rows per request")
}

// grantImport is an import in progress. It holds one batch in memory, whatever the
// size of the file.
type grantImport struct {
	*call
	id       string
	size     int // rows per batch
	position int64
	created  int64
	failed   int64
	unread   int64            // rows that could not be read and were not sent
	skip     int64            // rows of the file that the server has stored already
	refused  map[int64]string // errors of the last stored batch, by position, to report when its rows are skipped

	rows  []json.RawMessage // the batch
	lines []int
	bytes int

	began, reported time.Time
	sent            int64
}

func importGrants(c *call) error {
	// On Ctrl-C a request may be under way. Its outcome is known to the server.
	ctx, stop := signal.NotifyContext(c.cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c.cmd.SetContext(ctx)
	format, err := fileFormat(c.args[0], c.text("format"))
	if err != nil {
		return err
	}
	i := &grantImport{call: c, began: time.Now()}
	i.reported = i.began
	if i.size, _ = c.cmd.Flags().GetInt("batch"); i.size < 1 || i.size > maxImportBatch {
		return fmt.Errorf("--batch: must be 1 to %d", maxImportBatch)
	}
	file, err := i.open(c.args[0])
	if err != nil {
		return err
	}
	defer file.Close()
	if err := i.resume(); err != nil {
		return err
	}
	if err := i.run(file, format); err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted")
		}
		return fmt.Errorf("%w; %d rows are done: run the same command again to resume", err, i.position)
	}
	return i.summary()
}

func fileFormat(name, format string) (string, error) {
	if format == "" {
		switch strings.ToLower(filepath.Ext(name)) {
		case ".csv":
			format = admin.FormatCSV
		case ".ndjson", ".jsonl":
			format = admin.FormatNDJSON
		}
	}
	if format != admin.FormatCSV && format != admin.FormatNDJSON {
		return "", errors.New("--format: must be csv or ndjson")
	}
	return format, nil
}

// open opens the file and sets the id of the import, by default to a digest of the
// file.
func (i *grantImport) open(name string) (io.ReadCloser, error) {
	i.id = i.text("import-id")
	if name == "-" {
		if i.id == "" {
			return nil, errors.New("--import-id is required for an import from standard input")
		}
		return io.NopCloser(i.cmd.InOrStdin()), nil
	}
	file, err := os.Open(name)
	if err != nil || i.id != "" {
		return file, err
	}
	digest := sha256.New()
	if _, err := io.Copy(digest, file); err != nil {
		return nil, errors.Join(fmt.Errorf("reading %s: %w", name, err), file.Close())
	}
	i.id = "file-" + hex.EncodeToString(digest.Sum(nil))
	_, err = file.Seek(0, io.SeekStart)
	return file, err
}

// resume asks the server for the position of the import, and skips the rows before
// it.
func (i *grantImport) resume() error {
	status, answer, err := i.send(http.MethodGet, i.grantsPath()+"/imports/"+url.PathEscape(i.id), nil, nil)
	switch {
	case err != nil:
		return err
	case status == http.StatusNotFound:
		return nil
	case status != http.StatusOK:
		return answerError(status, answer)
	}
	var state admin.ImportState
	if err := decode(answer, &state); err != nil {
		return err
	}
	i.skip = state.Position - i.position
	i.position, i.created, i.failed = state.Position, state.Created, state.Failed
	i.refused = make(map[int64]string, len(state.Last.Errors))
	for _, e := range state.Last.Errors {
		i.refused[state.Last.Position+int64(e.Row)] = rowErrorText(e)
	}
	if i.skip > 0 {
		i.warn(fmt.Sprintf("resuming after row %d", i.position))
	}
	return nil
}

func rowErrorText(e admin.RowError) string {
	if e.Field == "" {
		return e.Message
	}
	return e.Field + ": " + e.Message
}

// skipRow reports whether the server has stored the next row already. The answer
// to the last stored batch may have been lost, so its errors are printed again.
func (i *grantImport) skipRow(line int) bool {
	if i.skip <= 0 {
		return false
	}
	if problem, refused := i.refused[i.position-i.skip]; refused {
		i.report(line, problem)
	}
	i.skip--
	return true
}

// report prints why a row was not imported.
func (i *grantImport) report(line int, problem string) {
	i.warn(fmt.Sprintf("line %d: %s", line, problem))
}

func (i *grantImport) run(file io.Reader, format string) error {
	for row, err := range admin.ReadGrants(file, format) {
		if err != nil {
			return err
		}
		if row.Err != nil {
			i.report(row.Line, row.Err.Error())
			i.unread++
			continue
		}
		if i.skipRow(row.Line) {
			continue
		}
		if i.bytes+len(row.Grant) > maxImportBatchBytes {
			if err := i.flush(); err != nil {
				return err
			}
		}
		i.rows, i.lines, i.bytes = append(i.rows, row.Grant), append(i.lines, row.Line), i.bytes+len(row.Grant)
		if len(i.rows) == i.size {
			if err := i.flush(); err != nil {
				return err
			}
		}
	}
	return i.flush()
}

// flush sends the batch.
func (i *grantImport) flush() error {
	if len(i.rows) == 0 {
		return nil
	}
	batch := map[string]any{"importId": i.id, "position": i.position, "grants": i.rows}
	status, answer, err := i.send(http.MethodPost, i.grantsPath()+"/batch", nil, batch)
	switch {
	case err != nil:
		return err
	case status == http.StatusConflict:
		if err := i.catchUp(); err != nil {
			return errors.Join(answerError(status, answer), err)
		}
		return i.flush()
	case status >= http.StatusBadRequest:
		return answerError(status, answer)
	}
	var result admin.ImportResult
	if err := decode(answer, &result); err != nil {
		return err
	}
	for _, e := range result.Errors {
		if e.Row >= 0 && e.Row < len(i.lines) {
			i.report(i.lines[e.Row], rowErrorText(e))
		}
	}
	i.position, i.created, i.failed = result.Position, i.created+int64(result.Created), i.failed+int64(len(result.Errors))
	i.sent += int64(len(i.rows))
	i.rows, i.lines, i.bytes = i.rows[:0], i.lines[:0], 0
	if now := time.Now(); now.Sub(i.reported) >= progressEvery {
		i.reported = now
		i.warn(fmt.Sprintf("%d rows, %.0f per second", i.position, float64(i.sent)/now.Sub(i.began).Seconds()))
	}
	return nil
}

// catchUp drops the rows of the batch that the server has stored in the meantime,
// for an earlier run of this import whose last request was still under way when
// this run started.
func (i *grantImport) catchUp() error {
	before := i.position
	if err := i.resume(); err != nil {
		return err
	}
	if i.position <= before {
		i.skip = 0
		return errors.New("the server's position of the import has not changed")
	}
	for len(i.rows) > 0 && i.skipRow(i.lines[0]) {
		i.bytes -= len(i.rows[0])
		i.rows, i.lines = i.rows[1:], i.lines[1:]
	}
	return nil
}

func (i *grantImport) summary() error {
	failed := i.failed + i.unread
	err := i.print(map[string]any{"importId": i.id, "created": i.created, "failed": failed}, line("created %d grants", i.created))
	if failed > 0 {
		err = errors.Join(err, fmt.Errorf("%d rows were not imported", failed))
	}
	return err
}
