package command

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatefold/gatefold/admin"
)

const recordsPath = "/management/records/"

func (n *noun) streamCommands(cmd *cobra.Command) {
	imports := subcommand(cmd, "import <file>", "Stores "+n.plural+" by the rows of an NDJSON file; if interrupted, run it again to resume", cobra.ExactArgs(1), n.importRecords)
	imports.Long = "Stores " + n.plural + " by the rows of an NDJSON file, a JSON object on each line as export writes them; - is standard input.\n\n" +
		"A row replaces the record of the same name, so a corrected file can be imported again.\nRows that are refused are printed with their line, and do not stop the others."
	imports.Flags().Bool("dry-run", false, "print what would change, and change nothing")
	subcommand(cmd, "export", "Prints all "+n.plural+" as NDJSON, for a later import", cobra.NoArgs, n.exportRecords)
}

// store stores one record. It returns created, changed or unchanged.
func (n *noun) store(c *call, row map[string]any) (state string, err error) {
	if !n.stream {
		return n.storeAgreement(c, row)
	}
	encoded, err := json.Marshal(row)
	if err != nil {
		return "", err
	}
	body := &payload{kind: "application/x-ndjson", size: int64(len(encoded)), open: func() io.ReadCloser { return io.NopCloser(bytes.NewReader(encoded)) }}
	response, err := c.upload(recordsPath+n.plural+"/import", nil, body, "application/json")
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return "", fmt.Errorf("reading the server's answer: %w", err)
	}
	var result admin.StreamProgress
	if err := decode(answer, &result); err != nil {
		return "", err
	}
	switch {
	case len(result.Errors) > 0:
		return "", errors.New(lineProblem(result.Errors[0]))
	case result.Created > 0:
		return "created", nil
	case result.Changed > 0:
		return "changed", nil
	case result.Unchanged > 0:
		return "unchanged", nil
	default:
		return "", errNotStored
	}
}

func lineProblem(e admin.LineError) string {
	if e.Field == "" {
		return e.Message
	}
	return e.Field + ": " + e.Message
}

// storeAgreement creates an agreement, or changes the one of the same slug.
func (n *noun) storeAgreement(c *call, row map[string]any) (state string, err error) {
	slug, _ := row["slug"].(string)
	status, answer, err := c.send(http.MethodGet, n.one([]string{slug}), nil, nil)
	switch {
	case err != nil:
		return "", err
	case status == http.StatusNotFound:
		return "created", c.request(http.MethodPost, "/api/agreements", nil, row, nil)
	case status != http.StatusOK:
		return "", answerError(status, answer)
	}
	change := maps.Clone(row)
	delete(change, "slug")
	return "changed", c.request(http.MethodPut, n.one([]string{slug}), nil, change, nil)
}

// exportRecords prints the records, one on each line.
func (n *noun) exportRecords(c *call) error {
	if !n.stream {
		return n.exportListed(c)
	}
	response, err := c.download(recordsPath+n.plural+"/export", "application/x-ndjson")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err = io.Copy(c.out, response.Body); err != nil {
		return fmt.Errorf("the export is incomplete: %w", err)
	}
	return nil
}

// exportListed prints the records of a listing, each as the API has it whole.
func (n *noun) exportListed(c *call) error {
	path, query := n.list(c, nil)
	records, _, err := c.pages(path, query, 0)
	if err != nil {
		return err
	}
	rows := json.NewEncoder(c.out)
	for _, record := range records {
		slug, _ := record["slug"].(string)
		var whole map[string]any
		if err := c.request(http.MethodGet, n.one([]string{slug}), nil, nil, &whole); err != nil {
			return fmt.Errorf("the export is incomplete: %w", err)
		}
		if err := rows.Encode(whole); err != nil {
			return err
		}
	}
	return nil
}

func (n *noun) importRecords(c *call) error {
	ctx, stop := signal.NotifyContext(c.cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c.cmd.SetContext(ctx)
	file, key, err := c.importFile(c.args[0])
	if err != nil {
		return err
	}
	defer file.Close()
	if !n.stream {
		return n.importListed(c, file)
	}
	query := url.Values{}
	if c.on("dry-run") {
		query.Set("dryRun", "true")
		key = ""
	}
	began := time.Now()
	bar := newProgress(c.cmd.ErrOrStderr(), file, began)
	body := &payload{kind: "application/x-ndjson", key: key, open: func() io.ReadCloser { return io.NopCloser(bar.reader) }}
	response, err := c.upload(recordsPath+n.plural+"/import", query, body, "application/x-ndjson")
	if err != nil {
		return n.interrupted(c, err)
	}
	defer response.Body.Close()
	result, err := n.follow(c, response.Body, bar)
	bar.clear()
	if err != nil {
		return n.interrupted(c, err)
	}
	would := ""
	if c.on("dry-run") {
		would = "would be: "
	}
	text := line("%s%d created, %d changed, %d unchanged, %d refused, in %v", would, result.Created, result.Changed, result.Unchanged, result.Failed, time.Since(began).Round(time.Millisecond))
	if err := c.print(result, text); err != nil {
		return err
	}
	if result.Failed > 0 {
		return fmt.Errorf("%d rows were refused: correct them, and import them again", result.Failed)
	}
	return nil
}

// interrupted adds to an error how to go on.
func (n *noun) interrupted(c *call, err error) error {
	if c.cmd.Context().Err() != nil {
		err = errors.New("interrupted")
	}
	if c.on("dry-run") {
		return err
	}
	return fmt.Errorf("%w: run the same command again to go on; stored rows are not stored twice", err)
}

// follow reads the progress of an import to its result.
func (n *noun) follow(c *call, answer io.Reader, bar *progress) (admin.StreamProgress, error) {
	var last admin.StreamLine
	reported := 0
	lines := json.NewDecoder(bufio.NewReader(answer))
	for {
		last = admin.StreamLine{}
		if err := lines.Decode(&last); err != nil {
			return last.StreamProgress, fmt.Errorf("the server's answer ended early: %w", err)
		}
		for _, e := range last.Errors[min(reported, len(last.Errors)):] {
			bar.clear()
			c.warn(fmt.Sprintf("line %d: %s", e.Line, lineProblem(e)))
		}
		reported = len(last.Errors)
		switch {
		case last.Problem != nil:
			return last.StreamProgress, errors.New(last.Problem.Detail)
		case last.Finished:
			if last.MoreErrors > 0 {
				c.warn(fmt.Sprintf("%d more rows were refused", last.MoreErrors))
			}
			return last.StreamProgress, nil
		}
		bar.draw(last.Position, last.Position)
	}
}

// importFile opens a file, and returns the key by which the same content is the same import.
func (c *call) importFile(name string) (file io.ReadCloser, key string, err error) {
	if name == "-" {
		return io.NopCloser(c.cmd.InOrStdin()), "", nil
	}
	opened, err := os.Open(name)
	if err != nil {
		return nil, "", err
	}
	digest := sha256.New()
	if _, err = io.Copy(digest, opened); err == nil {
		_, err = opened.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, "", errors.Join(fmt.Errorf("reading %s: %w", name, err), opened.Close())
	}
	return opened, "file-" + hex.EncodeToString(digest.Sum(nil)), nil
}

// importListed stores the rows of a file one by one: of records of which there are few.
func (n *noun) importListed(c *call, file io.Reader) error {
	rows := json.NewDecoder(file)
	counts := map[string]int{}
	for number := 1; ; number++ {
		var row map[string]any
		err := rows.Decode(&row)
		if errors.Is(err, io.EOF) {
			return c.print(counts, line("%d created, %d changed", counts["created"], counts["changed"]))
		}
		if err == nil && !c.on("dry-run") {
			var state string
			state, err = n.store(c, row)
			counts[state]++
		}
		if err != nil {
			return fmt.Errorf("row %d: %w; the rows before it are stored", number, err)
		}
	}
}
