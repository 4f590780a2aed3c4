package admin_test

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gatefold/gatefold/admin"
	"github.com/gatefold/gatefold/keys"
	"github.com/gatefold/gatefold/policy"
	"github.com/gatefold/gatefold/policy/store"
	"github.com/gatefold/gatefold/policy/store/boltengine"
)

// This example serves the API over a temporary database and creates a grant.
func Example() {
	dir, err := os.MkdirTemp("", "gatefold")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	backend, err := boltengine.Open(filepath.Join(dir, "gatefold.db"))
	if err != nil {
		log.Fatal(err)
	}
	defer backend.Close()
	versions := new(policy.Versions)
	records := store.New(backend, versions, time.Now)
	sealer, err := keys.NewSealer([]byte("a secret from the environment"))
	if err != nil {
		log.Fatal(err)
	}
	decisions, err := policy.New(policy.Options{
		Records: records, Versions: versions, Operators: policy.StandardOperators(), CacheBytes: policy.MinCacheBytes, Now: time.Now,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer decisions.Close()
	api, err := admin.New(admin.Options{
		Store: records, Keyring: store.NewKeyring(records, sealer), Policy: decisions, Now: time.Now,
		Authorize: func(r *http.Request) (admin.Caller, error) {
			if r.Header.Get("Authorization") != "Bearer back-office" {
				return admin.Caller{}, &admin.RefusedError{Status: http.StatusUnauthorized, Detail: "Authentication required."}
			}
			return admin.Caller{Vendor: "acme", Name: "back office", Scopes: []string{"grants:*"}}, nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(api)
	defer server.Close()

	body := strings.NewReader(`{"userId":"alice","sku":"premium"}`)
	request, err := http.NewRequest(http.MethodPost, server.URL+"/management/access-lists/src_default/grants", body)
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer back-office")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	var grant admin.Grant
	if err := json.NewDecoder(response.Body).Decode(&grant); err != nil {
		log.Fatal(err)
	}
	fmt.Println(response.StatusCode, grant.Source, grant.SKU, grant.Status)
	// Output: 201 src_default premium ACTIVE
}
