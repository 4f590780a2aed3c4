package redistest

import (
	"os"
	"path/filepath"

	"github.com/stretchr/testify/require"
)

// Folder returns where the server keeps its files, as this process sees it.
func (s *Server) Folder() string { return filepath.Join("/", s.Root, s.folder) }

// CopyFiles copies the files of a server, which may run, and returns the copy's folder.
func (s *Server) CopyFiles() string {
	s.t.Helper()
	copied := s.t.TempDir()
	require.NoError(s.t, os.CopyFS(copied, os.DirFS(s.Folder())))
	return copied
}

// PutBack replaces the files of a server that does not run by a copy.
func (s *Server) PutBack(copied string) {
	s.t.Helper()
	entries, err := os.ReadDir(s.Folder())
	require.NoError(s.t, err)
	for _, entry := range entries {
		require.NoError(s.t, os.RemoveAll(filepath.Join(s.Folder(), entry.Name())))
	}
	require.NoError(s.t, os.CopyFS(s.Folder(), os.DirFS(copied)))
}
