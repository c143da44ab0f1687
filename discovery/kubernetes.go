// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
)

func init() { caddy.RegisterModule(new(Kubernetes)) }

// Kubernetes discovers the endpoints of a service. It watches the EndpointSlices of the service with the service account
// of the pod, which needs the verbs list and watch for endpointslices in discovery.k8s.io. Ready endpoints are backends;
// endpoints that terminate and still serve are drained. The id of a backend is the name of its pod, its instance the uid
// of the pod, and its zone the zone of the node.
type Kubernetes struct {
	// Service is namespace/service, or namespace/service:port with the name or the number of a
	// port. The port is needed if the service has several.
	Service string `json:"service,omitempty"`
	// API is the URL of the API server. Default: that of the cluster Caddy runs in.
	API string `json:"api,omitempty"`
	// TokenFile is a file with a bearer token, which is read for each request, as tokens expire.
	// Default: that of the pod.
	TokenFile string `json:"token_file,omitempty"`
	// CAFile is a file with the certificates of the API server's authority. Default: that of the
	// pod.
	CAFile string `json:"ca_file,omitempty"`

	namespace, name, port string
}

const (
	serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount/"
	// kubernetesPage is the number of EndpointSlices in one answer.
	kubernetesPage = "500"
	// kubernetesWatch is how long the API server keeps a watch open.
	kubernetesWatch = 5 * time.Minute
)

// serviceName is namespace/service with an optional port, whose names are DNS labels.
var serviceName = regexp.MustCompile(`^([a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)/([a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)(?::([a-z0-9]+(?:-[a-z0-9]+)*))?$`)

// CaddyModule returns the Caddy module information.
func (*Kubernetes) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".kubernetes", New: func() caddy.Module { return new(Kubernetes) }}
}

// Provision sets the defaults.
func (k *Kubernetes) Provision(caddy.Context) error {
	if err := k.parse(); err != nil {
		return err
	}
	if k.API == "" {
		host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
		if host == "" {
			return errors.New("not in a Kubernetes cluster; write `api <url>`")
		}
		k.API = "https://" + net.JoinHostPort(host, cmp.Or(port, "443"))
		k.TokenFile = cmp.Or(k.TokenFile, serviceAccount+"token")
		k.CAFile = cmp.Or(k.CAFile, serviceAccount+"ca.crt")
	}
	return checkAPI("api", k.API)
}

func (k *Kubernetes) parse() error {
	m := serviceName.FindStringSubmatch(k.Service)
	if m == nil {
		return fmt.Errorf("from kubernetes must have a service such as shop/web or shop/web:http, got %q", k.Service)
	}
	k.namespace, k.name, k.port = m[1], m[2], m[3]
	return nil
}

// Watch implements [Source].
func (k *Kubernetes) Watch(ctx context.Context, update func(Update)) error {
	var roots *x509.CertPool
	var err error
	if k.CAFile != "" {
		if roots, err = readRoots(k.CAFile); err != nil {
			return err
		}
	}
	api, err := newClient(k.API, roots)
	if err != nil {
		return err
	}
	defer api.close()
	if k.TokenFile != "" {
		api.field = k.token
	}
	w := &sliceWatch{Kubernetes: k, api: api, update: update}
	for {
		if err := w.list(ctx); err != nil {
			return err
		}
		for err == nil {
			err = w.watch(ctx)
		}
		if !errors.Is(err, errExpired) {
			return err
		}
		err = nil
	}
}

// token returns the authorization.
func (k *Kubernetes) token() (name, value string, err error) {
	data, err := os.ReadFile(k.TokenFile)
	return "Authorization", "Bearer " + strings.TrimSpace(string(data)), err
}

// sliceWatch is one call of Watch.
type sliceWatch struct {
	*Kubernetes
	api     *client
	update  func(Update)
	slices  map[string]*endpointSlice // by name
	version string                    // of the latest event
}

// errExpired means that the version of a watch is too old, so that everything must be listed again.
var errExpired = errors.New("the version of the watch has expired")

func (w *sliceWatch) path() string {
	return "/apis/discovery.k8s.io/v1/namespaces/" + w.namespace + "/endpointslices"
}

func (w *sliceWatch) query() url.Values {
	return url.Values{"labelSelector": {"kubernetes.io/service-name=" + w.name}}
}

// list reads all EndpointSlices of the service, and pushes them.
func (w *sliceWatch) list(ctx context.Context) error {
	all, next := make(map[string]*endpointSlice), ""
	for {
		query := w.query()
		query.Set("limit", kubernetesPage)
		if next != "" {
			query.Set("continue", next)
		}
		var page struct {
			Metadata struct{ ResourceVersion, Continue string }
			Items    []*endpointSlice
		}
		if _, err := w.api.getJSON(ctx, w.path(), query, 0, &page); err != nil {
			if next != "" && gone(err) { // the list has expired meanwhile
				all, next = make(map[string]*endpointSlice), ""
				continue
			}
			return err
		}
		for _, s := range page.Items {
			if s != nil {
				all[s.Metadata.Name] = s
			}
		}
		if next = page.Metadata.Continue; next == "" {
			w.slices, w.version = all, page.Metadata.ResourceVersion
			w.push()
			return nil
		}
	}
}

// watch follows the changes until the API server ends the watch.
func (w *sliceWatch) watch(ctx context.Context) error {
	query := w.query()
	query.Set("watch", "1")
	query.Set("resourceVersion", w.version)
	query.Set("allowWatchBookmarks", "true")
	query.Set("timeoutSeconds", fmt.Sprint(int(kubernetesWatch.Seconds())))
	// The server ends the watch; if it has died without a word, this does.
	ctx, cancel := context.WithTimeout(ctx, kubernetesWatch+time.Minute)
	defer cancel()
	res, err := w.api.get(ctx, w.path(), query, nil, 0)
	if gone(err) {
		return errExpired
	}
	if err != nil {
		return err
	}
	s := newStream(res.Body)
	defer s.close()
	began := false
	for {
		var e watchEvent
		if err := s.next(&e); err != nil {
			if began && ctx.Err() == nil && isEnd(err) {
				return nil // a watch ends from time to time
			}
			return fmt.Errorf("the watch ended: %w", err)
		}
		began = true
		if err := w.apply(&e); err != nil {
			return err
		}
	}
}

// watchEvent is an event of a watch.
type watchEvent struct {
	Type   string
	Object struct {
		endpointSlice
		Code    int
		Message string
	}
}

// apply applies an event, and pushes the backends if they may have changed.
func (w *sliceWatch) apply(e *watchEvent) error {
	o := &e.Object
	switch e.Type {
	case "ADDED", "MODIFIED":
		s := o.endpointSlice
		w.slices[o.Metadata.Name] = &s
	case "DELETED":
		delete(w.slices, o.Metadata.Name)
	case "BOOKMARK":
		w.version = cmp.Or(o.Metadata.ResourceVersion, w.version)
		return nil
	case "ERROR":
		if o.Code == http.StatusGone {
			return errExpired
		}
		return fmt.Errorf("the API server ends the watch: %d %s", o.Code, o.Message)
	default:
		return nil
	}
	w.version = cmp.Or(o.Metadata.ResourceVersion, w.version)
	w.push()
	return nil
}

// gone reports whether the API server no longer has the version of a request.
func gone(err error) bool {
	e, ok := errors.AsType[*statusError](err)
	return ok && e.code == http.StatusGone
}

// UnmarshalCaddyfile sets up the source from Caddyfile tokens. Syntax:
//
//	from kubernetes <namespace/service> {   # or namespace/service:port
//		api <url>
//		token_file <path>
//		ca_file <path>
//	}
func (k *Kubernetes) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	caddyfileutil.Head(d, &k.Service)
	if err := k.parse(); err != nil {
		return d.WrapErr(err)
	}
	return caddyfileutil.Block(d, caddyfileutil.Options{
		"api":        api("api", &k.API),
		"token_file": caddyfileutil.String(&k.TokenFile),
		"ca_file":    caddyfileutil.String(&k.CAFile),
	})
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Kubernetes)(nil)
	_ caddyfile.Unmarshaler = (*Kubernetes)(nil)
	_ Source                = (*Kubernetes)(nil)
)
