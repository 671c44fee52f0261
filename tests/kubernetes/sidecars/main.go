// Stand-ins for the sidecars of a CSI driver that are not to be had as Go modules: `stand_in
// registrar`, `livenessprobe` and `metadata`. Each knows the flags of the real one that the
// chart gives, and does what the cluster needs of it.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// What the real ones know, too, and here changes nothing.
func ignore(flags *flag.FlagSet, names ...string) {
	for _, name := range names {
		flags.String(name, "", "ignored")
	}
}

func connect(address string) *grpc.ClientConn {
	connection, err := grpc.NewClient("unix://"+strings.TrimPrefix(address, "unix://"),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	return connection
}

func main() {
	programs := map[string]func(context.Context, []string){
		"registrar":     register,
		"livenessprobe": probe,
		"metadata":      serveMetadata,
	}
	if len(os.Args) < 2 || programs[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: stand_in registrar|livenessprobe|metadata [flags]")
		os.Exit(2)
	}
	programs[os.Args[1]](context.Background(), os.Args[2:])
}
