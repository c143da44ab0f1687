// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// A file is read when it has changed, and only once nobody writes it any more. In virtual time, since
// a file blocks nobody.
func TestFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "web.json")
		// The clock of a file's times is the real one, so the test sets them.
		write := func(text string) {
			t.Helper()
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(path, time.Time{}, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		write(`["10.0.0.1:80"]`)
		time.Sleep(2 * time.Second)
		began := time.Now()
		w := watch(t, &File{Path: path})
		w.until("10.0.0.1:80")
		if d := time.Since(began); d != 0 {
			t.Errorf("a file that is old is read after %v", d)
		}
		began = time.Now()
		for n := range 4 { // it grows for a second
			write("10.0.0.1:80\n10.0.0.2:80\n"[:12*(1+n%2)] + "\n\n\n\n"[:n])
			time.Sleep(filePoll)
		}
		write("10.0.0.1:80\n10.0.0.2:80\n")
		w.until("10.0.0.1:80; 10.0.0.2:80")
		if d := time.Since(began); d < 4*filePoll || d > 7*filePoll {
			t.Errorf("it is read after %v", d)
		}
		if n := len(w.updates); n != 0 {
			t.Errorf("%d more updates", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(w.updates); n != 0 {
			t.Errorf("%d updates of a file that is the same", n)
		}
	})
}

// A file that is missing or wrong ends the watch, after which the pool keeps what it has.
func TestFileFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "web.json")
		if err := watch(t, &File{Path: path}).fails(); !os.IsNotExist(err) {
			t.Error(err)
		}
		for _, text := range []string{`["10.0.0.1:80"`, "a:1 weight=x"} {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := watch(t, &File{Path: path}).fails(); err == nil {
				t.Errorf("%q is accepted", text)
			}
		}
	})
}
