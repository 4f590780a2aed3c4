package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
)

// A campaign ends: its list of grants is removed, and the file of the database is as long as
// before. It is compacted while readers read and the back office writes. No reader is refused
// meanwhile, everything is there after a kill, and the file is short.
func TestCampaignIsCompacted(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	token := s.must("token", "reader", "--user", "u")
	s.must("grant", "add", "--user", "u", "--sku", "premium")
	var list struct{ ID string }
	if code := s.api(http.MethodPost, "/management/access-lists", `{"name":"Campaign"}`, &list); code >= 300 {
		t.Fatalf("the list is not made: %d", code)
	}
	rows := new(strings.Builder)
	rows.WriteString("userId,sku\n")
	for i := range 12_000 {
		fmt.Fprintf(rows, "campaign-%d,premium\n", i)
	}
	s.must("grant", "import", s.write("campaign.csv", rows.String()), "--list", list.ID)
	if code := s.api(http.MethodDelete, "/management/access-lists/"+list.ID, "", nil); code >= 300 {
		t.Fatalf("the list is not removed: %d", code)
	}

	stop := make(chan struct{})
	var running sync.WaitGroup
	added := 0
	running.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if got := s.get(s.site+"/articles/hello", "Authorization", "Bearer "+token); got.StatusCode != http.StatusOK {
				t.Errorf("the reader got %d %s", got.StatusCode, got.body)
				return
			}
			if code := s.api(http.MethodPost, "/management/access-lists/src_default/grants", fmt.Sprintf(`{"userId":"beside-%d","sku":"premium"}`, added), nil); code != http.StatusCreated {
				t.Errorf("a grant beside: %d", code)
				return
			}
			added++
		}
	})
	var done struct{ BytesBefore, Bytes int64 }
	if err := json.Unmarshal([]byte(s.must("store", "compact", "--json")), &done); err != nil {
		t.Fatal(err)
	}
	close(stop)
	running.Wait()
	info, err := os.Stat(s.database())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes before, %d after, %d grants written meanwhile", done.BytesBefore, done.Bytes, added)
	if done.Bytes >= done.BytesBefore/2 || info.Size() > done.BytesBefore {
		t.Errorf("from %d to %d bytes, and the file has %d", done.BytesBefore, done.Bytes, info.Size())
	}
	s.kill()
	s.start()
	s.get(s.site+"/articles/hello", "Authorization", "Bearer "+token).expect(t, http.StatusOK, "")
	if added > 0 {
		if got := s.must("grant", "list", "--user", fmt.Sprint("beside-", added-1)); !strings.Contains(got, "premium") {
			t.Errorf("the last grant is lost: %s", got)
		}
	}
	s.stop()
	if got := runCommand(t, s.dir, s.environment(), "store", "verify", s.database()); got.code != 0 {
		t.Errorf("the file: %+v", got)
	}
}
