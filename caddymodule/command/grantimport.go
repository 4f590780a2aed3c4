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

func importCommand(parent *cobra.Command) {
	cmd := subcommand(parent, "import <file>", "Creates grants from a CSV or NDJSON file; run again, it goes on where it stopped", cobra.ExactArgs(1), importGrants)
	flags := cmd.Flags()
	flags.String("format", "", "csv or ndjson (default: by the file's name)")
	flags.String("import-id", "", "name of the import (default: made from the file's content; required for - )")
	flags.Int("batch", maxImportBatch, "rows that are stored in one step")
}

// Bounds of what is sent in one step.
const (
	maxImportBatch      = 5000
	maxImportBatchBytes = 8 << 20
	progressEvery       = 5 * time.Second
)

// grantImport is an import on its way. Its memory is that of one batch, however
// large the file is.
type grantImport struct {
	*call
	id       string
	size     int              // rows of a batch
	skip     int64            // rows that the server has already
	missed   map[int64]string // what was wrong with rows of the newest batch, of which perhaps nobody was told
	position int64
	created  int64
	failed   int64
	unread   int64 // rows that could not be read, of which the server knows nothing
	rows     []json.RawMessage
	lines    []int
	bytes    int
	began    time.Time
	told     time.Time
	sent     int64
}

func importGrants(c *call) error {
	// Ctrl-C ends the import between two steps, or in one: the server knows.
	ctx, stop := signal.NotifyContext(c.cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c.cmd.SetContext(ctx)
	name := c.args[0]
	format, err := fileFormat(name, c.text("format"))
	if err != nil {
		return err
	}
	i := &grantImport{call: c, began: time.Now()}
	if i.size, _ = c.cmd.Flags().GetInt("batch"); i.size < 1 || i.size > maxImportBatch {
		return fmt.Errorf("--batch: must be 1 to %d", maxImportBatch)
	}
	i.told = i.began
	file, err := i.open(name)
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
		return fmt.Errorf("%w; %d rows are done: run the same command again to go on", err, i.position)
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

// open opens the file, and names the import after its content.
func (i *grantImport) open(name string) (io.ReadCloser, error) {
	i.id = i.text("import-id")
	if name == "-" {
		if i.id == "" {
			return nil, errors.New("--import-id is required where the rows come from standard input")
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

// importProgress is how far the server has come with an import.
type importProgress struct {
	Position int64 `json:"position"`
	Created  int64 `json:"created"`
	Failed   int64 `json:"failed"`
	Last     struct {
		Position int64           `json:"position"`
		Errors   []importProblem `json:"errors"`
	} `json:"last"`
}

// resume asks the server how far it has come with this import, and goes on from
// there: the rows before are skipped.
func (i *grantImport) resume() error {
	var known importProgress
	status, answer, err := i.send(i.cmd.Context(), http.MethodGet, i.grantsPath()+"/imports/"+url.PathEscape(i.id), nil, nil)
	switch {
	case err != nil:
		return err
	case status == http.StatusNotFound:
		return nil
	case status != http.StatusOK:
		return answerError(status, answer)
	}
	if err := json.Unmarshal(answer, &known); err != nil {
		return fmt.Errorf("the server's answer cannot be read: %w", err)
	}
	i.skip = known.Position - i.position
	i.position, i.created, i.failed = known.Position, known.Created, known.Failed
	i.missed = make(map[int64]string, len(known.Last.Errors))
	for _, e := range known.Last.Errors {
		i.missed[known.Last.Position+e.Row] = e.text()
	}
	if i.skip > 0 {
		fmt.Fprintf(i.cmd.ErrOrStderr(), "going on behind %d rows\n", i.position)
	}
	return nil
}

// skipRow says whether the next row is done already, and tells what was wrong with
// it if perhaps nobody was told.
func (i *grantImport) skipRow(line int) bool {
	if i.skip <= 0 {
		return false
	}
	if problem, wrong := i.missed[i.position-i.skip]; wrong {
		i.report(line, problem)
	}
	i.skip--
	return true
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
		if len(i.rows) >= i.size {
			if err := i.flush(); err != nil {
				return err
			}
		}
	}
	return i.flush()
}

// flush sends the rows that were collected, as one step.
func (i *grantImport) flush() error {
	if len(i.rows) == 0 {
		return nil
	}
	var done struct {
		Position int64           `json:"position"`
		Created  int64           `json:"created"`
		Errors   []importProblem `json:"errors"`
	}
	batch := map[string]any{"importId": i.id, "position": i.position, "grants": i.rows}
	status, answer, err := i.send(i.cmd.Context(), http.MethodPost, i.grantsPath()+"/batch", nil, batch)
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
	if err := json.Unmarshal(answer, &done); err != nil {
		return fmt.Errorf("the server's answer cannot be read: %w", err)
	}
	for _, e := range done.Errors {
		if e.Row >= 0 && e.Row < int64(len(i.lines)) {
			i.report(i.lines[e.Row], e.text())
		}
	}
	i.position, i.created, i.failed = done.Position, i.created+done.Created, i.failed+int64(len(done.Errors))
	i.sent += int64(len(i.rows))
	i.rows, i.lines, i.bytes = i.rows[:0], i.lines[:0], 0
	if at := time.Now(); at.Sub(i.told) >= progressEvery {
		i.told = at
		fmt.Fprintf(i.cmd.ErrOrStderr(), "%d rows, %.0f a second\n", i.position, float64(i.sent)/at.Sub(i.began).Seconds())
	}
	return nil
}

// catchUp drops the rows that the server has by now: it was still at work on the
// last step of an import that was interrupted when this one asked how far it was.
func (i *grantImport) catchUp() error {
	was := i.position
	if err := i.resume(); err != nil {
		return err
	}
	if i.position <= was {
		i.skip = 0
		return errors.New("the import stands where it should")
	}
	for len(i.rows) > 0 && i.skipRow(i.lines[0]) {
		i.bytes -= len(i.rows[0])
		i.rows, i.lines = i.rows[1:], i.lines[1:]
	}
	return nil
}

// importProblem is what the server says of a row of a batch.
type importProblem struct {
	Row     int64  `json:"row"`
	Field   string `json:"field"`
	Message string `json:"message"`
}

func (p *importProblem) text() string {
	if p.Field == "" {
		return p.Message
	}
	return p.Field + ": " + p.Message
}

// report names a row of which no grant was made.
func (i *grantImport) report(line int, problem string) {
	fmt.Fprintf(i.cmd.ErrOrStderr(), "line %d: %s\n", line, printable(problem))
}

func (i *grantImport) summary() error {
	var err error
	if i.json {
		err = i.printJSON(map[string]any{"importId": i.id, "created": i.created, "failed": i.failed + i.unread})
	} else {
		_, err = fmt.Fprintf(i.out, "created %d grants\n", i.created)
	}
	if failed := i.failed + i.unread; failed > 0 {
		return errors.Join(err, fmt.Errorf("no grant was made of %d rows", failed))
	}
	return err
}
