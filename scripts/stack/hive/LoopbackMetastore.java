import java.net.InetSocketAddress;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.hive.metastore.HiveMetaStore;
import org.apache.hadoop.hive.metastore.IHMSHandler;
import org.apache.hadoop.hive.metastore.RetryingHMSHandler;
import org.apache.hadoop.hive.metastore.TUGIBasedProcessor;
import org.apache.hadoop.hive.metastore.conf.MetastoreConf;
import org.apache.hadoop.hive.metastore.security.TUGIContainingTransport;
import org.apache.thrift.protocol.TBinaryProtocol;
import org.apache.thrift.server.TThreadPoolServer;
import org.apache.thrift.transport.TServerSocket;

/**
 * Hive 3's metastore on the loopback interface: {@code java LoopbackMetastore.java -p PORT --hiveconf NAME=VALUE…}. Its own program
 * listens on all interfaces, and cannot be told otherwise; what it puts together for a metastore without security is this.
 */
class LoopbackMetastore {
  public static void main(String[] args) throws Exception {
    int port = 0;
    Configuration conf = MetastoreConf.newMetastoreConf();
    for (int i = 0; i + 1 < args.length; i += 2) {
      if (args[i].equals("-p")) {
        port = Integer.parseInt(args[i + 1]);
      } else {
        String[] setting = args[i + 1].split("=", 2);
        conf.set(setting[0], setting[1]);
      }
    }
    IHMSHandler handler =
        RetryingHMSHandler.getProxy(conf, new HiveMetaStore.HMSHandler("metastore", conf, false), false);
    TThreadPoolServer.Args server =
        new TThreadPoolServer.Args(new TServerSocket(new InetSocketAddress("127.0.0.1", port)))
            .processor(new TUGIBasedProcessor<IHMSHandler>(handler))
            .transportFactory(new TUGIContainingTransport.Factory())
            .protocolFactory(new TBinaryProtocol.Factory());
    new TThreadPoolServer(server).serve();
  }
}
