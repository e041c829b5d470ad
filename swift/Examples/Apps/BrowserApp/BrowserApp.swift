import AppModels
import MLXEngine
import SwiftUI

@main
struct BrowserApp: App {
    var body: some Scene {
        WindowGroup {
            BrowserView()
        }
    }
}

struct BrowserView: View {
    @State private var browser = ModelBrowserViewModel()
    @State private var loader = ModelLoader()
    @State private var showsPicker = false

    var body: some View {
        NavigationStack {
            VStack {
                LoadingView(loader: loader)
                if let model = loader.model {
                    InfoView(info: model.info)
                }
                ModelList(browser: browser) { row in
                    loader.load(ModelConfiguration(directory: row.directory))
                }
            }
            .navigationTitle("Models")
            .toolbar {
                Button("Folder", systemImage: "folder") { showsPicker = true }
                Button("Unload", systemImage: "eject", action: loader.unload).disabled(loader.model == nil)
            }
        }
        .fileImporter(isPresented: $showsPicker, allowedContentTypes: [.folder]) { result in
            guard case .success(let folder) = result else { return }
            // The sandbox grants access while this holds; models are read from the folder later, so it is kept.
            _ = folder.startAccessingSecurityScopedResource()
            Task { await browser.scan(folder) }
        }
        .task { await browser.scan(.documentsDirectory) }
    }
}

struct InfoView: View {
    let info: ModelInfo

    var body: some View {
        Grid(alignment: .leading) {
            GridRow {
                Text("Parameters")
                Text(info.parameters, format: .number)
            }
            GridRow {
                Text("Context")
                Text(info.contextLength.map { "\($0) tokens" } ?? "unknown")
            }
            GridRow {
                Text("Device")
                Text(info.device)
            }
            GridRow {
                Text("Loaded in")
                Text("\(info.loadSeconds, format: .number.precision(.fractionLength(2))) s")
            }
        }
        .padding()
    }
}
