package main

import (
	"context"
	"flag"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// What node-driver-registrar does: it says to the kubelet where the driver is.
type registrar struct {
	registration.UnimplementedRegistrationServer
	name, endpoint string
}

func (r registrar) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{Type: registration.CSIPlugin, Name: r.name, Endpoint: r.endpoint, SupportedVersions: []string{"1.0.0"}}, nil
}

func (r registrar) NotifyRegistrationStatus(_ context.Context, status *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	log.Printf("registered: %v %s", status.PluginRegistered, status.Error)
	if !status.PluginRegistered {
		os.Exit(1)
	}
	return &registration.RegistrationStatusResponse{}, nil
}

// The driver's name, once it answers.
func driverName(ctx context.Context, identity csi.IdentityClient) string {
	for {
		info, err := identity.GetPluginInfo(ctx, &csi.GetPluginInfoRequest{})
		if err == nil {
			return info.Name
		}
		log.Printf("waiting for the driver: %v", err)
		time.Sleep(200 * time.Millisecond)
	}
}

func register(ctx context.Context, args []string) {
	flags := flag.NewFlagSet("registrar", flag.ExitOnError)
	address := flags.String("csi-address", "/csi/csi.sock", "")
	path := flags.String("kubelet-registration-path", "", "")
	folder := flags.String("plugin-registration-path", "/registration", "")
	ignore(flags, "v", "timeout", "http-endpoint", "mode")
	flags.Parse(args)
	name := driverName(ctx, csi.NewIdentityClient(connect(*address)))
	socket := filepath.Join(*folder, name+"-reg.sock")
	os.Remove(socket)
	listener, err := net.Listen("unix", socket)
	if err != nil {
		log.Fatal(err)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		os.Remove(socket)
		os.Exit(0)
	}()
	server := grpc.NewServer()
	registration.RegisterRegistrationServer(server, registrar{name: name, endpoint: *path})
	log.Fatal(server.Serve(listener))
}
