package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
)

// The API server, as the pod's account sees it.
type apiServer struct {
	client     *http.Client
	url, token string
}

func newAPIServer() apiServer {
	const account = "/var/run/secrets/kubernetes.io/serviceaccount/"
	token, err := os.ReadFile(account + "token")
	if err != nil {
		log.Fatal(err)
	}
	authority, err := os.ReadFile(account + "ca.crt")
	if err != nil {
		log.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	host := net.JoinHostPort(os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT"))
	return apiServer{&http.Client{Transport: transport, Timeout: 30 * time.Second}, "https://" + host, string(token)}
}

// Reads an object, or makes the one that is given.
func (a apiServer) call(path string, object, answer any) error {
	method, body := http.MethodGet, []byte(nil)
	if object != nil {
		method = http.MethodPost
		body, _ = json.Marshal(object)
	}
	request, _ := http.NewRequest(method, a.url+path, bytes.NewReader(body))
	request.Header.Set("Authorization", "Bearer "+a.token)
	request.Header.Set("Content-Type", "application/json")
	response, err := a.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		text, _ := io.ReadAll(response.Body)
		return fmt.Errorf("%s: %s: %s", path, response.Status, text)
	}
	return json.NewDecoder(response.Body).Decode(answer)
}

type object map[string]any

// HTTP's status for a client with this token: 200 if it may get snapshots there.
func (a apiServer) review(token, audience, namespace string) (int, error) {
	var who struct {
		Status struct {
			Authenticated bool
			User          struct {
				Username string
				Groups   []string
			}
		}
	}
	spec := object{"token": token, "audiences": []string{audience}}
	if err := a.call("/apis/authentication.k8s.io/v1/tokenreviews", object{"spec": spec}, &who); err != nil {
		return http.StatusInternalServerError, err
	}
	if !who.Status.Authenticated {
		return http.StatusUnauthorized, errors.New("not authenticated")
	}
	var may struct{ Status struct{ Allowed bool } }
	wish := object{"verb": "get", "group": "snapshot.storage.k8s.io", "version": "v1", "resource": "volumesnapshots", "namespace": namespace}
	spec = object{"user": who.Status.User.Username, "groups": who.Status.User.Groups, "resourceAttributes": wish}
	if err := a.call("/apis/authorization.k8s.io/v1/subjectaccessreviews", object{"spec": spec}, &may); err != nil {
		return http.StatusInternalServerError, err
	}
	if !may.Status.Allowed {
		return http.StatusForbidden, fmt.Errorf("%s may not", who.Status.User.Username)
	}
	return http.StatusOK, nil
}

// The driver's name for a VolumeSnapshot.
func (a apiServer) handle(namespace, name string) (string, error) {
	const group = "/apis/snapshot.storage.k8s.io/v1/"
	var snapshot struct {
		Spec   struct{ VolumeSnapshotClassName string }
		Status struct{ BoundVolumeSnapshotContentName string }
	}
	if err := a.call(group+"namespaces/"+namespace+"/volumesnapshots/"+name, nil, &snapshot); err != nil {
		return "", err
	}
	// Where the real one looks for secrets.
	if err := a.call(group+"volumesnapshotclasses/"+snapshot.Spec.VolumeSnapshotClassName, nil, &object{}); err != nil {
		return "", err
	}
	var content struct {
		Status struct{ SnapshotHandle string }
	}
	err := a.call(group+"volumesnapshotcontents/"+snapshot.Status.BoundVolumeSnapshotContentName, nil, &content)
	return content.Status.SnapshotHandle, err
}

type run struct{ Offset, Size int64 }

func appendRuns(runs []run, blocks []*csi.BlockMetadata) []run {
	for _, block := range blocks {
		runs = append(runs, run{block.ByteOffset, block.SizeBytes})
	}
	return runs
}

// What the snapshot has, or what differs from the snapshot `base` if that is not empty.
func blocks(ctx context.Context, connection *grpc.ClientConn, base, handle string) ([]run, error) {
	client := csi.NewSnapshotMetadataClient(connection)
	runs := []run{}
	if base == "" {
		stream, err := client.GetMetadataAllocated(ctx, &csi.GetMetadataAllocatedRequest{SnapshotId: handle})
		for err == nil {
			var part *csi.GetMetadataAllocatedResponse
			part, err = stream.Recv()
			runs = appendRuns(runs, part.GetBlockMetadata())
		}
		return runs, unlessEOF(err)
	}
	request := &csi.GetMetadataDeltaRequest{BaseSnapshotId: base, TargetSnapshotId: handle}
	stream, err := client.GetMetadataDelta(ctx, request)
	for err == nil {
		var part *csi.GetMetadataDeltaResponse
		part, err = stream.Recv()
		runs = appendRuns(runs, part.GetBlockMetadata())
	}
	return runs, unlessEOF(err)
}

func unlessEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// What csi-snapshot-metadata does, but of another protocol: GET
// https://HOST/NAMESPACE/SNAPSHOT?base=HANDLE with a token answers runs of bytes as JSON.
func serveMetadata(ctx context.Context, args []string) {
	flags := flag.NewFlagSet("metadata", flag.ExitOnError)
	address := flags.String("csi-address", "/run/csi/socket", "")
	port := flags.String("port", "50051", "")
	certificate := flags.String("tls-cert", "", "")
	key := flags.String("tls-key", "", "")
	audience := flags.String("audience", "", "")
	health := flags.String("http-endpoint", ":8080", "")
	ignore(flags, "v")
	flags.Parse(args)
	connection, api := connect(*address), newAPIServer()
	go func() {
		log.Fatal(http.ListenAndServe(*health, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			request := &csi.GetPluginCapabilitiesRequest{}
			answer, err := csi.NewIdentityClient(connection).GetPluginCapabilities(r.Context(), request)
			for _, each := range answer.GetCapabilities() {
				if each.GetService().GetType() == csi.PluginCapability_Service_SNAPSHOT_METADATA_SERVICE {
					return
				}
			}
			http.Error(w, fmt.Sprint("no capability: ", err), http.StatusServiceUnavailable)
		})))
	}()
	serve := func(w http.ResponseWriter, r *http.Request) {
		namespace, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if status, err := api.review(token, *audience, namespace); err != nil {
			http.Error(w, err.Error(), status)
			return
		}
		handle, err := api.handle(namespace, name)
		var runs []run
		if err == nil {
			runs, err = blocks(r.Context(), connection, r.URL.Query().Get("base"), handle)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		json.NewEncoder(w).Encode(runs)
	}
	log.Fatal(http.ListenAndServeTLS(":"+*port, *certificate, *key, http.HandlerFunc(serve)))
}
