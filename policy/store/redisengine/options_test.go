package redisengine_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatefold/gatefold/policy/store/redisengine"
)

func TestURLs(t *testing.T) {
	for text, want := range map[string]redisengine.Options{
		"redis://r.example.com":                   {Addresses: []string{"r.example.com:6379"}},
		"redis://r.example.com:7000/3":            {Addresses: []string{"r.example.com:7000"}, Database: 3},
		"redis://gate:s3cret@r.example.com":       {Addresses: []string{"r.example.com:6379"}, User: "gate", Password: "s3cret"},
		"redis://:s3cret@[::1]:7000/":             {Addresses: []string{"[::1]:7000"}, Password: "s3cret"},
		"redis+sentinel://s.example.com/gate":     {Mode: redisengine.Sentinel, Addresses: []string{"s.example.com:26379"}, Master: "gate"},
		"redis+sentinel://s.example.com:1/gate/2": {Mode: redisengine.Sentinel, Addresses: []string{"s.example.com:1"}, Master: "gate", Database: 2},
		"redis+cluster://c.example.com":           {Mode: redisengine.Cluster, Addresses: []string{"c.example.com:6379"}},
	} {
		options, err := redisengine.ParseURLs([]string{text})
		require.NoError(t, err, text)
		require.Equal(t, want, options, text)
	}
	for _, scheme := range []string{"rediss", "rediss+sentinel", "rediss+cluster"} {
		options, err := redisengine.ParseURLs([]string{scheme + "://r.example.com/"})
		require.NoError(t, err)
		require.NotNil(t, options.TLS, scheme)
	}
	options, err := redisengine.ParseURLs([]string{"redis+cluster://a", "redis+cluster://b:7000"})
	require.NoError(t, err)
	require.Equal(t, []string{"a:6379", "b:7000"}, options.Addresses)
}

// TestBadURLs also says that no error repeats a password.
func TestBadURLs(t *testing.T) {
	for _, urls := range [][]string{
		{},
		{"r.example.com:6379"},
		{"http://:hunter2@r.example.com"},
		{"redis://"},
		{"redis://:hunter2@r.example.com/x"},
		{"redis://:hunter2@r.example.com/-1"},
		{"redis://:hunter2@r.example.com?db=1"},
		{"redis://:hunter2@a:b:c"},
		{"redis://a", "redis://b"},
		{"redis+cluster://a", "redis+sentinel://b/m"},
		{"redis+cluster://:hunter2@a", "redis+cluster://:hunter3@b"},
		{"redis+cluster://a", "rediss+cluster://b"},
	} {
		_, err := redisengine.ParseURLs(urls)
		require.Error(t, err, "%v", urls)
		require.NotContains(t, err.Error(), "hunter")
	}
	for name, options := range map[string]redisengine.Options{
		"no address":       {},
		"no master's name": {Mode: redisengine.Sentinel, Addresses: []string{"a:1"}},
		"database":         {Mode: redisengine.Cluster, Addresses: []string{"a:1"}, Database: 1},
		"hash tag":         {Addresses: []string{"a:1"}, Prefix: "a{b}"},
		"negative":         {Addresses: []string{"a:1"}, PoolSize: -1},
		"ack too slow":     {Addresses: []string{"a:1"}, AckReplicas: 1, Timeout: 1000, AckTimeout: 1e9},
	} {
		_, err := redisengine.New(options)
		require.Error(t, err, name)
	}
}
