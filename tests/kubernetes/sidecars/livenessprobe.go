package main

import (
	"context"
	"flag"
	"log"
	"net/http"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

// What livenessprobe does: /healthz is what the driver answers to Probe.
func probe(ctx context.Context, args []string) {
	flags := flag.NewFlagSet("livenessprobe", flag.ExitOnError)
	address := flags.String("csi-address", "/csi/csi.sock", "")
	port := flags.String("health-port", "9808", "")
	endpoint := flags.String("http-endpoint", "", "")
	timeout := flags.Duration("probe-timeout", time.Second, "")
	ignore(flags, "v", "metrics-address")
	flags.Parse(args)
	identity := csi.NewIdentityClient(connect(*address))
	http.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		ctx, cancel := context.WithTimeout(ctx, *timeout)
		defer cancel()
		answer, err := identity.Probe(ctx, &csi.ProbeRequest{})
		if err == nil && (answer.Ready == nil || answer.Ready.Value) {
			w.Write([]byte("ok"))
			return
		}
		http.Error(w, "not ready", http.StatusInternalServerError)
	})
	if *endpoint == "" {
		*endpoint = ":" + *port
	}
	log.Fatal(http.ListenAndServe(*endpoint, nil))
}
