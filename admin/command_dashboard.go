// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// dashboard shows the page of the admin endpoint in a browser. The endpoint refuses an
// address typed into a browser, because the request has no origin, and browsers cannot
// connect to unix sockets.
func (c *command) dashboard() *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use:   "dashboard",
		Short: "Serves the dashboard, with its controls, to a browser on this machine",
		Long: `
Serves the dashboard of the admin endpoint to a browser on this machine, until the
command ends. The address contains a secret: anyone who knows it can change pools.
In a pipe or a substitution, standard output has the address alone:
open "$(caddy ballast dashboard &)".

The command listens on a loopback address. On a server it also prints the ssh command
that forwards that address to the machine with the browser. To show pools to others,
without controls, use pool_status in a site.`,
		Example: "  caddy ballast dashboard\n  caddy ballast dashboard --listen 127.0.0.1:8090 --address unix//run/caddy-admin.sock",
		Args:    arguments(0, 0),
		RunE: c.run(func(cmd *cobra.Command, client *Client, _ []string) error {
			if err := checkListen(listen); err != nil {
				return err
			}
			if _, err := client.Pools(cmd.Context()); err != nil {
				return err
			}
			l, err := net.Listen("tcp", listen)
			if err != nil {
				return err
			}
			d, err := newLocalProxy(client, l.Addr().String())
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			server := &http.Server{Handler: d, BaseContext: func(net.Listener) context.Context { return ctx }}
			cmd.PrintErrf("The dashboard is at %s until you press ctrl-c\n", d.address)
			if hint := remoteHint(l.Addr(), os.Getenv); hint != "" {
				cmd.PrintErrln(hint)
			}
			printAddress(cmd.OutOrStdout(), d.address)
			context.AfterFunc(ctx, func() { _ = server.Close() })
			if err := server.Serve(l); ctx.Err() == nil {
				return err
			}
			return nil
		}),
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "loopback address and port to listen on; port 0 selects a free one")
	return cmd
}

// printAddress writes an address for another program, then closes the output, so that a shell's
// command substitution returns. On a terminal the address is shown already.
func printAddress(out io.Writer, address string) {
	f, ok := out.(*os.File)
	if ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			return
		}
	}
	_, _ = fmt.Fprintln(out, address) // the reader may have left
	if ok {
		_ = f.Close()
	}
}

// checkListen returns an error unless the address is a loopback one. Others on the network
// could read the secret from an unencrypted connection, and with it control the pools.
func checkListen(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("--listen must be an address and a port such as 127.0.0.1:8090, got %q", address)
	}
	ip, err := netip.ParseAddr(host)
	if _, notPort := strconv.ParseUint(port, 10, 16); notPort != nil {
		return fmt.Errorf("--listen must have a port from 0 to 65535, as in 127.0.0.1:8090, got %q", address)
	}
	if host == "localhost" || err == nil && ip.Unmap().IsLoopback() {
		return nil
	}
	free := "8090"
	if port != "0" {
		free = port
	}
	return fmt.Errorf("--listen %s is not a loopback address, and the dashboard is not encrypted; write --listen 127.0.0.1:%s here"+
		" and `ssh -L %s:127.0.0.1:%s <this machine>` on the machine of the browser, or use `pool_status` in a site, behind authentication", address, free, free, free)
}

// localProxy is the server that passes requests of a browser to the API. Safe for concurrent
// use.
type localProxy struct {
	address string // URL of the page
	host    string
	prefix  string // path prefix, with the secret
	proxy   *httputil.ReverseProxy
}

func newLocalProxy(client *Client, host string) (*localProxy, error) {
	to, err := url.Parse(client.origin)
	if err != nil {
		return nil, err
	}
	d := &localProxy{host: host, prefix: "/" + rand.Text()}
	d.address = "http://" + host + d.prefix + root
	d.proxy = &httputil.ReverseProxy{
		Transport:     client.http.Transport,
		FlushInterval: -1, // flush events at once
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = to.Scheme, to.Host, to.Host
			r.Out.URL.Path = strings.TrimPrefix(r.In.URL.Path, d.prefix)
			r.Out.URL.RawPath = strings.TrimPrefix(r.In.URL.RawPath, d.prefix)
			for name := range r.Out.Header {
				if strings.HasPrefix(name, "Sec-") || name == "Referer" || name == "Cookie" {
					r.Out.Header.Del(name)
				}
			}
			r.Out.Header.Set("Origin", client.origin)
			sayWho(r.Out.Header, "dashboard")
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			fail(w, http.StatusBadGateway, &AwayError{client.address, err})
		},
	}
	return d, nil
}

// ServeHTTP passes requests from the page, and for the page. The secret is part of the path,
// so that another page would have to know it. Host and origin are checked as in Caddy's own
// endpoint.
func (d *localProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	origin, site := r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site")
	switch {
	case !strings.HasPrefix(r.URL.Path, d.prefix+root), strings.Contains(r.URL.Path, "/.."):
		fail(w, http.StatusNotFound, fmt.Errorf("not found; open the address that the command has printed"))
	case r.Host != d.host, origin != "" && origin != "http://"+d.host, site != "" && site != "same-origin" && site != "none":
		fail(w, http.StatusForbidden, fmt.Errorf("only requests of the dashboard page itself are allowed"))
	default:
		d.proxy.ServeHTTP(w, r)
	}
}
